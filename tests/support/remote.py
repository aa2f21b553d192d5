# SPDX-License-Identifier: Apache-2.0
"""Small collaborators for tests of sources and exporters: a blob store in memory, layers from files, a faulty server."""

from __future__ import annotations

import gzip
import hashlib
import io
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from llbkit.worker.base import LayerBlob, LayerInfo, Snapshot
from llbkit.worker.content.store import VerifiedBlob
from llbkit.worker.oci import LAYER, Descriptor, digest_of


class MemoryBlobs:
    """A content store in memory that verifies as the real one does."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def exists(self, digest: str) -> bool:
        return digest in self.data

    def read(self, digest: str) -> bytes:
        return self.data[digest]

    def open(self, digest: str):
        return io.BytesIO(self.data[digest])

    @contextmanager
    def verified(self, digest: str):
        with self.open(digest) as file:
            yield VerifiedBlob(self, digest, file)

    def delete(self, digest: str) -> None:
        del self.data[digest]

    def put(self, data: bytes) -> str:
        self.data[digest_of(data)] = data
        return digest_of(data)

    def download(self, digest: str, size: int):
        return self.writer(digest, size)

    @contextmanager
    def writer(self, expected: str = "", size: int = -1) -> Iterator[MemoryWriter]:
        stream = MemoryWriter()
        yield stream
        data = stream.getvalue()
        assert not expected or digest_of(data) == expected
        assert size in (-1, len(data))
        self.data[digest_of(data)] = data


class MemoryWriter(io.BytesIO):
    """A blob being written."""

    @property
    def size(self) -> int:
        return len(self.getvalue())

    @property
    def digest(self) -> str:
        return digest_of(self.getvalue())


class DirectoryLayers:
    """Layers and snapshots that are plain directories: layer n is one directory, a snapshot shows its last."""

    name = "directories"

    def __init__(self, store: MemoryBlobs) -> None:
        self.store = store
        self.directories: list[Path] = []
        self.infos: list[LayerInfo] = []
        self.made = 0

    def add(self, directory: Path, description: str = "COPY . /", created_at: float = 1_600_000_000.5) -> int:
        self.directories.append(directory)
        number = len(self.infos)
        info = LayerInfo(
            id=number,
            diff_id="",
            chain_id="",
            size=1,
            unpacked=True,
            description=description,
            created_at=created_at,
        )
        self.infos.append(info)
        return number

    def add_lazy(self, descriptor: Descriptor, diff_id: str, source: str) -> int:
        number = len(self.infos)
        self.directories.append(Path("/nonexistent"))
        self.infos.append(
            LayerInfo(
                id=number,
                diff_id=diff_id,
                chain_id="",
                size=-1,
                unpacked=False,
                description="base",
                blobs=(descriptor,),
                source=source,
            )
        )
        return number

    def info(self, layer: int) -> LayerInfo:
        return self.infos[layer]

    def ensure(self, snapshot: Snapshot, cancel: object, report: object = None) -> None:
        pass

    def blob(self, layer, *, compression="gzip", level=None, force=False, cancel=None) -> LayerBlob:
        self.made += 1
        tar = tar_of(self.directories[layer])
        data = tar if compression == "uncompressed" else gzip.compress(tar, mtime=0)
        kind = LAYER if compression == "uncompressed" else LAYER + "+gzip"
        self.store.put(data)
        return LayerBlob(
            descriptor=Descriptor(
                media_type=kind,
                digest=digest_of(data),
                size=len(data),
                annotations={"containerd.io/uncompressed": digest_of(tar)},
            ),
            diff_id=digest_of(tar),
        )

    @contextmanager
    def view(self, snapshot: Snapshot) -> Iterator[Path]:
        yield self.directories[snapshot.layers[-1]]


def tar_of(directory: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, str(path.relative_to(directory)), recursive=False)
    return out.getvalue()


Answer = tuple[int, dict[str, str], bytes]


class FaultyServer:
    """An HTTP server whose answers are a function of (method, path, headers, number of the request)."""

    def __init__(
        self,
        answer: Callable[[str, str, dict[str, str], int], Answer],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[object] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                headers = {key.lower(): value for key, value in self.headers.items()}
                headers["body"] = body.decode("latin-1")
                outer.connections.add(self.client_address)
                outer.requests.append((self.command, self.path, headers))
                status, extra, data = answer(self.command, self.path, headers, len(outer.requests))
                self.send_response(status)
                cut = extra.pop("cut", "")
                extra.setdefault("Content-Length", str(len(data)))
                for key, value in extra.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: int(cut)] if cut else data)
                if cut:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
