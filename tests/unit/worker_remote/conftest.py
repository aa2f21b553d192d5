# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of sources and exporters."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.registry import registry as run_registry
from support.remote import DirectoryLayers, MemoryBlobs

from llbkit.worker.exporters.base import ExportTools
from llbkit.worker.host.pools import Token
from llbkit.worker.images import ImageStore
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import ANONYMOUS
from llbkit.worker.registry.push import Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.sources.image import ImageResolver
from llbkit.worker.state.metadata import Metadata


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory: pytest.TempPathFactory):
    with run_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a self-signed certificate for 127.0.0.1, and what a server needs to show it."""
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return files[0], context


@pytest.fixture
def token() -> Token:
    return Token()


@pytest.fixture
def store() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def database(tmp_path: Path):
    database = Metadata(tmp_path / "metadata.db")
    yield database
    database.close()


@pytest.fixture
def transport() -> Transport:
    return Transport(credentials=lambda *_: ANONYMOUS, sleep=lambda seconds: None)


@pytest.fixture
def images(database: Metadata, store: MemoryBlobs) -> ImageStore:
    return ImageStore(database, store)


@pytest.fixture
def layers(store: MemoryBlobs) -> DirectoryLayers:
    return DirectoryLayers(store)


@pytest.fixture
def resolver(store: MemoryBlobs, transport: Transport, images: ImageStore) -> ImageResolver:
    return ImageResolver(store=store, registry=RegistryProvider(transport), images=images)


@pytest.fixture
def tools(store, layers, images, transport, resolver) -> ExportTools:
    return ExportTools(
        store=store,
        layers=layers,
        snapshotter=layers,
        images=images,
        pusher=Pusher(transport, store),
        fetch=resolver.fetch,
        clock=lambda: 1_700_000_000.0,
    )
