# SPDX-License-Identifier: Apache-2.0
"""Images pushed to and read from a real registry."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from support.remote import MemoryBlobs

from llbkit.llb.address.reference import parse
from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import Snapshot, SourceError
from llbkit.worker.exporters.base import ExportRequest, PlatformExport
from llbkit.worker.exporters.export import export
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.image import ImageResolver

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Env": ["A=<b>"]}}).encode()


def quiet(*args: object) -> None:
    pass


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "hello").write_text("hello\n")
    return folder


def push(tools, layers, files, token, name, *, multi=False, **attrs):
    number = layers.add(files)
    results = [PlatformExport(id="linux/amd64", platform=AMD64, snapshot=Snapshot((number,)), config=CONFIG)]
    if multi:
        config = CONFIG.replace(b"amd64", b"arm64")
        results.append(replace(results[0], id="linux/arm64", platform=ARM64, config=config))
    request = ExportRequest(
        results=tuple(results),
        multi=multi,
        names=(name,),
        attrs={key.replace("_", "-"): v for key, v in attrs.items()},
    )
    return export("registry", request, tools, cancel=token, report=quiet)


def test_a_pushed_image_is_found_again_with_its_config_and_layers(
    registry_host, tools, layers, files, token, transport, images
):
    name = f"{registry_host}/one/image:v1"
    response = push(tools, layers, files, token, name)
    fresh = MemoryBlobs()
    resolver = ImageResolver(store=fresh, registry=RegistryProvider(transport), images=images)
    session = LocalSession(id="s")
    found = resolver.resolve(name, AMD64, "default", token, session=session)
    assert found.digest == response["containerimage.digest"]
    assert json.loads(found.config)["config"]["Env"] == ["A=<b>"]
    located = resolver.locate(f"docker-image://{name}", {}, AMD64, token, session=session)
    [(layer, diff_id)] = located.layers
    assert not fresh.exists(layer.digest)
    resolver.fetch(layer, located.source, token)
    assert fresh.exists(layer.digest)
    assert json.loads(found.config)["rootfs"]["diff_ids"] == [diff_id]
    descriptor = json.loads(base64.b64decode(response["containerimage.descriptor"]))
    assert descriptor["digest"] == found.digest


def test_an_index_gives_each_platform_its_own_image(registry_host, tools, layers, files, token, resolver):
    name = f"{registry_host}/one/multi:v1"
    push(tools, layers, files, token, name, multi=True)
    session = LocalSession(id="s")
    for platform in (AMD64, ARM64, Platform(os="linux", architecture="aarch64", variant="v8")):
        found = resolver.resolve(name, platform, "default", token, session=session)
        assert json.loads(found.config)["architecture"] in (platform.architecture, "arm64")
    with pytest.raises(SourceError) as caught:
        resolver.resolve(name, Platform(os="linux", architecture="s390x"), "default", token, session=session)
    assert "linux/amd64, linux/arm64" in caught.value.help


def test_a_missing_tag_names_those_that_exist(registry_host, tools, layers, files, token, resolver):
    push(tools, layers, files, token, f"{registry_host}/one/tags:1.2.3")
    with pytest.raises(SourceError, match=r"no tag 1\.2\.4") as caught:
        resolver.resolve(
            f"{registry_host}/one/tags:1.2.4", AMD64, "default", token, session=LocalSession(id="s")
        )
    assert "1.2.3" in caught.value.help


def test_a_layer_of_the_same_registry_is_mounted_and_never_fetched(
    registry_host, tools, layers, files, token, resolver, store
):
    base = f"{registry_host}/mount/base:v1"
    push(tools, layers, files, token, base)
    located = resolver.locate(f"docker-image://{base}", {}, AMD64, token, session=LocalSession(id="s"))
    [(layer, diff_id)] = located.layers
    del store.data[layer.digest]
    number = layers.add_lazy(layer, diff_id, located.source)
    request = ExportRequest(
        results=(PlatformExport(id="", platform=AMD64, snapshot=Snapshot((number,)), config=located.config),),
        names=(f"{registry_host}/mount/child:v1",),
    )
    export("registry", request, tools, cancel=token, report=quiet)
    assert layer.digest not in store.data
    child = resolver.locate(
        f"docker-image://{registry_host}/mount/child:v1", {}, AMD64, token, session=LocalSession(id="t")
    )
    assert child.layers[0][0].digest == layer.digest


def test_a_known_digest_needs_no_network(tools, layers, files, token, resolver, registry_host):
    name = f"{registry_host}/one/offline:v1"
    digest = push(tools, layers, files, token, name)["containerimage.digest"]
    found = resolver.resolve(
        f"127.0.0.1:1/one/offline@{digest}", AMD64, "default", token, session=LocalSession(id="s")
    )
    assert found.digest == digest


def test_an_unreachable_registry_is_named(token, resolver):
    with pytest.raises(SourceError, match=r"cannot connect to 127\.0\.0\.1:1: connection refused") as caught:
        resolver.resolve("127.0.0.1:1/x:y", AMD64, "default", token, session=LocalSession(id="s"))
    assert caught.value.help


def test_push_by_digest_makes_no_tag(registry_host, tools, layers, files, token, transport):
    name = f"{registry_host}/one/bydigest"
    digest = push(tools, layers, files, token, name, push_by_digest="true")["containerimage.digest"]
    provider = RegistryProvider(transport)
    assert provider.resolve(parse(f"{name}@{digest}"), token).digest == digest
    with pytest.raises(SourceError):
        provider.resolve(parse(f"{name}:latest"), token)


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
def test_buildah_reads_what_was_pushed(registry_host, tools, layers, files, token, tmp_path):
    name = f"{registry_host}/one/peer:v1"
    push(tools, layers, files, token, name)
    done = subprocess.run(
        ["buildah", "--root", tmp_path / "r", "--runroot", tmp_path / "rr", "--storage-driver", "vfs",
         "pull", "--tls-verify=false", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
