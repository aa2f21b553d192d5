# SPDX-License-Identifier: Apache-2.0
"""What every exporter promises, and what each writes."""

from __future__ import annotations

import base64
import filecmp
import gzip
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.remote import DirectoryLayers, MemoryBlobs, sha256

from llbkit.llb.address.reference import parse
from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import Snapshot, SourceError, StorageError
from llbkit.worker.content.layout import Layout, open_layout
from llbkit.worker.exporters.base import ExportError, ExportRequest, ExportTools, PlatformExport
from llbkit.worker.exporters.export import EXPORTERS, check, export
from llbkit.worker.exporters.image.config import LayerFacts, complete_history, image_config
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.images import ImageStore
from llbkit.worker.registry.dockerconfig import ANONYMOUS
from llbkit.worker.registry.push import Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.state.metadata import Metadata

AMD64 = Platform(os="linux", architecture="amd64")
CONFIG = json.dumps(
    {"os": "linux", "architecture": "amd64", "x-unknown": 1, "config": {"Cmd": ["a<b"]}}
).encode()


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    (folder / "dir").mkdir(parents=True)
    (folder / "dir" / "run").write_text("run\n")
    (folder / "dir" / "run").chmod(0o4755)
    os.link(folder / "dir" / "run", folder / "hard")
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    return folder


@pytest.fixture
def tools(tmp_path_factory):
    store, database = MemoryBlobs(), Metadata(tmp_path_factory.mktemp("state") / "metadata.db")
    layers = DirectoryLayers(store)

    def fetch(descriptor, source, cancel, progress):
        raise SourceError(f"{source} is gone")

    yield ExportTools(
        store=store,
        layers=layers,
        snapshotter=layers,
        images=ImageStore(database, store),
        pusher=Pusher(Transport(credentials=lambda *_: ANONYMOUS), store),
        fetch=fetch,
        clock=lambda: 1_700_000_000.0,
    )
    database.close()


def run(
    tools, files, kind, *, multi=False, dest=None, stream=None, names=(), config=CONFIG, token=None, **attrs
):
    result = PlatformExport(
        id="linux/amd64", platform=AMD64, snapshot=Snapshot((tools.layers.add(files),)), config=config
    )
    request = ExportRequest(
        results=(result,),
        multi=multi,
        names=names,
        dest=dest,
        stream=stream,
        attrs={key.replace("__", ".").replace("_", "-"): value for key, value in attrs.items()},
    )
    return export(kind, request, tools, cancel=token or Token(), report=lambda *_: None)


@pytest.mark.parametrize("kind", sorted(EXPORTERS))
def test_an_unknown_attribute_is_refused_with_the_nearest_known(tools, files, tmp_path, kind):
    with pytest.raises(ExportError) as caught:
        run(tools, files, kind, dest=tmp_path / "o", platform_splitt="1", compresion="gzip")
    assert caught.value.help


@pytest.mark.parametrize("kind", sorted(EXPORTERS))
@pytest.mark.parametrize("attrs", [{"compresion": "gzip"}, {"sbom": "true"}, {"source-date-epoch": "x"}])
def test_wrong_attributes_are_found_before_there_is_a_result(tmp_path, kind, attrs):
    with pytest.raises(ExportError):
        check(kind, ExportRequest(results=(), names=("x",), dest=tmp_path, attrs=attrs))
    check(kind, ExportRequest(results=(), names=("x",), dest=tmp_path))


@pytest.mark.parametrize("kind", ["image", "oci", "docker"])
@pytest.mark.parametrize(
    ("attrs", "text"),
    [
        (
            {"compression": "zstd", "oci-mediatypes": "false"},
            '"compression=zstd" conflicts with "oci-mediatypes=false"',
        ),
        (
            {"oci-artifact": "true", "oci-mediatypes": "0"},
            '"oci-artifact=true" conflicts with "oci-mediatypes=false"',
        ),
        ({"compression": ""}, "compression= has no value"),
        ({"compression-level": ""}, "compression-level= has no value"),
        ({"oci-mediatypes": ""}, "is not a boolean"),
        ({"oci-artifact": ""}, "is not a boolean"),
        ({"force-compression": ""}, "is not a boolean"),
        ({"rewrite-timestamp": ""}, "is not a boolean"),
        ({"compatibility-version": "40"}, "use one of 10, 20, 30"),
        ({"compatibility-version": "10", "compression": "zstd"}, "not supported at compatibility version 10"),
    ],
)
def test_attributes_that_exclude_each_other_are_refused(tmp_path, kind, attrs, text):
    with pytest.raises(ExportError) as caught:
        check(kind, ExportRequest(results=(), names=("x",), dest=tmp_path, attrs=attrs))
    assert text in f"{caught.value} {caught.value.help}"


@pytest.mark.parametrize(
    ("kind", "attrs"),
    [
        ("image", {"push": "", "push-by-digest": "", "unpack": "", "store": "", "name-canonical": ""}),
        ("oci", {"compression": "zstd", "compatibility-version": "20"}),
        ("oci", {"oci-mediatypes": "false"}),
        ("oci", {"oci-artifact": "false", "oci-mediatypes": "false"}),
    ],
)
def test_attributes_that_go_together_are_taken(tmp_path, kind, attrs):
    check(kind, ExportRequest(results=(), names=("x",), dest=tmp_path, attrs=attrs))


@pytest.mark.parametrize(
    ("kind", "key"), [("oci", "tar"), ("local", "platform-split"), ("tar", "platform-split")]
)
def test_an_empty_boolean_is_none(tmp_path, kind, key):
    with pytest.raises(ExportError, match="is not a boolean"):
        check(kind, ExportRequest(results=(), names=("x",), dest=tmp_path, attrs={key: ""}))


@pytest.mark.parametrize(
    ("attrs", "oci"),
    [
        ({}, True),
        ({"compatibility_version": "30"}, True),
        ({"compatibility_version": "20"}, False),
        ({"compatibility_version": "10", "oci_mediatypes": "true"}, True),
    ],
)
def test_media_types_are_those_of_the_compatibility_version(tools, files, tmp_path, attrs, oci):
    run(tools, files, "oci", dest=tmp_path / "o.tar", names=("x",), **attrs)
    with tarfile.open(tmp_path / "o.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
    assert index["manifests"][0]["mediaType"].startswith("application/vnd.oci.") is oci


@pytest.mark.parametrize("kind", sorted(EXPORTERS))
def test_attestations_are_refused_unless_off(tools, files, tmp_path, kind):
    with pytest.raises(ExportError, match="not supported yet"):
        run(tools, files, kind, dest=tmp_path / "o", names=("x",), sbom="true")
    if kind != "registry":
        run(tools, files, kind, dest=tmp_path / "o", names=("x",), sbom="false", provenance="false")


@pytest.mark.parametrize("kind", ["oci", "docker", "tar"])
def test_an_archive_is_the_same_each_time_and_to_a_stream(tools, files, tmp_path, kind):
    run(tools, files, kind, dest=tmp_path / "a.tar", names=("x",))
    stream = io.BytesIO()
    run(tools, files, kind, stream=stream, names=("x",))
    assert (tmp_path / "a.tar").read_bytes() == stream.getvalue()
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "files"]


def test_a_tar_holds_names_of_any_bytes_as_they_are(tools, files, tmp_path):
    (files / os.fsdecode(b"d\xff")).write_text("x")
    run(tools, files, "tar", dest=tmp_path / "a.tar", platform_split="true")
    with tarfile.open(tmp_path / "a.tar", encoding="utf-8", errors="surrogateescape") as archive:
        members = {os.fsencode(member.name): member for member in archive}
        assert archive.extractfile(members[b"linux_amd64/d\xff"]).read() == b"x"
    assert members[b"linux_amd64"].isdir()
    assert members[b"linux_amd64/hard"].linkname == "linux_amd64/dir/run"
    assert all(set(member.pax_headers) <= {"path"} for member in members.values())


@pytest.mark.parametrize("kind", ["oci", "docker", "tar", "local"])
def test_a_cancelled_export_leaves_no_file(tools, files, tmp_path, kind):
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        run(tools, files, kind, dest=tmp_path / "a", token=token)
    assert not (tmp_path / "a").is_file()


@pytest.mark.parametrize("kind", ["oci", "docker", "tar", "local"])
def test_a_destination_that_cannot_be_written_is_told(tools, files, tmp_path, kind):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        run(tools, files, kind, dest=tmp_path / "file" / "below")
    assert caught.value.help


def test_an_oci_archive_holds_what_its_index_says(tools, files, tmp_path):
    response = run(tools, files, "oci", dest=tmp_path / "a.tar", names=("alpine", "r.example/x:v1"))
    with tarfile.open(tmp_path / "a.tar") as archive:
        content = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}
        modes = {m.name: (m.mode, m.mtime, m.uid) for m in archive}
    assert (
        modes["oci-layout"] == modes[f"blobs/sha256/{response['containerimage.digest'][7:]}"] == (0o444, 0, 0)
    )
    assert "manifest.json" not in content
    assert list(modes) == sorted(modes)
    index = json.loads(content["index.json"])
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {
            "io.containerd.image.name": name,
            "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
            "org.opencontainers.image.ref.name": tag,
        }
        for name, tag in (("docker.io/library/alpine:latest", "latest"), ("r.example/x:v1", "v1"))
    ]
    for name, data in content.items():
        if name.startswith("blobs/"):
            assert sha256(data).endswith(name.rpartition("/")[2])
    descriptor = json.loads(base64.b64decode(response["containerimage.descriptor"]))
    assert descriptor["annotations"] == {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    manifest = content[f"blobs/sha256/{response['containerimage.digest'][7:]}"]
    assert manifest.startswith(
        b'{\n  "schemaVersion": 2,\n  "mediaType": "application/vnd.oci.image.manifest.v1+json"'
    )
    [layer] = json.loads(manifest)["layers"]
    assert "annotations" not in layer
    config = content[f"blobs/sha256/{response['containerimage.config.digest'][7:]}"]
    assert b" " not in config.replace(b"COPY . /", b"")
    assert b"a\\u003cb" in config
    assert list(json.loads(config)) == sorted(json.loads(config))
    assert json.loads(config)["history"] == [
        {
            "created": "2020-09-13T12:26:40.5Z",
            "created_by": "COPY . /",
            "comment": "buildkit.exporter.image.v0",
        }
    ]


def test_a_layout_directory_collects_images_and_is_read_back(tools, files, tmp_path):
    first = run(tools, files, "oci", dest=tmp_path / "l", names=("x:1",), tar="false")
    second = run(
        tools, files, "oci", dest=tmp_path / "l", names=("x:2",), tar="false", oci_mediatypes="false"
    )
    layout = Layout(open_layout(tmp_path / "l"))
    assert layout.resolve(parse("x:1"), Token()).digest == first["containerimage.digest"]
    assert layout.resolve(parse("x:2"), Token()).digest == second["containerimage.digest"]
    with pytest.raises(SourceError, match="tag '3' not found") as caught:
        layout.resolve(parse("x:3"), Token())
    assert "1, 2" in caught.value.help
    assert sorted(os.listdir(tmp_path / "l")) == ["blobs", "index.json", "oci-layout"]
    for _ in range(2):
        run(tools, files, "oci", dest=tmp_path / "unnamed", tar="false")
    [entry] = Layout(open_layout(tmp_path / "unnamed")).entries()
    assert entry.annotations["org.opencontainers.image.ref.name"] == "latest"
    run(tools, files, "oci", dest=tmp_path / "l.tar", names=("x:1",))
    archive = Layout(open_layout(tmp_path / "l.tar"))
    descriptor = archive.resolve(parse("x:1"), Token())
    assert archive.manifest(parse("x:1"), descriptor, Token()) == layout.manifest(
        parse("x:1"), descriptor, Token()
    )


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
@pytest.mark.parametrize(("kind", "scheme"), [("oci", "oci-archive"), ("docker", "docker-archive")])
def test_buildah_reads_the_archives(tools, files, tmp_path, kind, scheme):
    run(tools, files, kind, dest=tmp_path / "a.tar", names=("x:1",))
    done = subprocess.run(
        ["buildah", "--root", tmp_path / "r", "--runroot", tmp_path / "rr", "--storage-driver", "vfs",
         "pull", f"{scheme}:{tmp_path / 'a.tar'}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_docker_archive_names_its_layers_and_holds_one_platform(tools, files, tmp_path):
    run(tools, files, "docker", dest=tmp_path / "a.tar", names=("alpine:3",))
    with tarfile.open(tmp_path / "a.tar") as archive:
        [entry] = json.load(archive.extractfile("manifest.json"))
        assert entry["RepoTags"] == ["alpine:3"]
        for name in (entry["Config"], *entry["Layers"]):
            assert archive.getmember(name).isreg()
    with pytest.raises(ExportError, match="multiple platforms"):
        run(tools, files, "docker", dest=tmp_path / "b.tar", multi=True)


def test_annotations_go_where_they_are_told(tools, files, tmp_path):
    attrs = {
        "annotation.a": "m",
        "annotation-index.b": "i",
        "annotation-manifest-descriptor[linux/amd64].c": "d",
        "annotation[linux/arm64].e": "no",
    }
    result = PlatformExport(
        id="linux/amd64", platform=AMD64, snapshot=Snapshot((tools.layers.add(files),)), config=CONFIG
    )
    request = ExportRequest(results=(result,), multi=True, attrs=attrs, dest=tmp_path / "a.tar")
    response = export("oci", request, tools, cancel=Token(), report=lambda *_: None)
    assert "containerimage.config.digest" not in response
    index = json.loads(tools.store.read(response["containerimage.digest"]))
    assert index["annotations"] == {"b": "i"}
    [entry] = index["manifests"]
    assert (entry["annotations"], entry["platform"]) == ({"c": "d"}, {"architecture": "amd64", "os": "linux"})
    assert json.loads(tools.store.read(entry["digest"]))["annotations"] == {"a": "m"}


@pytest.mark.parametrize("attrs", [{"oci_mediatypes": "false"}, {}])
def test_index_annotations_without_an_index_are_refused(tools, files, tmp_path, attrs):
    with pytest.raises(ExportError):
        run(tools, files, "oci", dest=tmp_path / "a", **{"annotation-index.b": "i"}, **attrs)


def test_rewrite_timestamp_clamps_files_and_config(tools, files, tmp_path):
    response = run(
        tools, files, "oci", dest=tmp_path / "a.tar", source_date_epoch="1500000000", rewrite_timestamp="true"
    )
    config = json.loads(tools.store.read(response["containerimage.config.digest"]))
    assert (config["created"], config["history"][0]["created"]) == ("2017-07-14T02:40:00Z",) * 2
    [layer] = json.loads(tools.store.read(response["containerimage.digest"]))["layers"]
    with tarfile.open(fileobj=io.BytesIO(tools.store.read(layer["digest"]))) as archive:
        members = archive.getmembers()
        assert {member.mtime for member in members} == {1500000000}
        assert len(members) == 5
    plain = gzip.decompress(tools.store.read(layer["digest"]))
    assert config["rootfs"]["diff_ids"] == [sha256(plain)]
    assert plain.endswith(bytes(1024))
    assert len(plain) == members[-1].offset_data + 1024, "two blocks of zeros end it, no padding"


def test_local_keeps_modes_times_and_links(tools, files, tmp_path):
    out = tmp_path / "out"
    run(tools, files, "local", dest=out)
    assert (out / "dir" / "run").stat().st_mode & 0o7777 == 0o4755
    assert (out / "dir" / "run").stat().st_mtime == 1_600_000_000
    assert (out / "dir").stat().st_mtime == 1_600_000_000
    assert os.path.samefile(out / "hard", out / "dir" / "run")
    assert os.readlink(out / "link") == "/etc/passwd"
    run(tools, files, "local", dest=out)
    assert sorted(os.listdir(out)) == ["dir", "hard", "link", "pipe"]


def test_local_keeps_modes_of_pipes_whatever_the_umask(tools, files, tmp_path):
    (files / "pipe").chmod(0o1666)
    run(tools, files, "local", dest=tmp_path / "out")
    assert (tmp_path / "out" / "pipe").stat().st_mode & 0o7777 == 0o1666


def test_local_writes_through_no_link_of_the_destination(tools, files, tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "victim").write_text("kept")
    out.mkdir()
    (out / "dir").symlink_to(outside)
    (out / "hard").symlink_to(outside / "victim")
    run(tools, files, "local", dest=out)
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "kept"
    assert (out / "dir" / "run").read_text() == (out / "hard").read_text() == "run\n"


@pytest.fixture
def few_descriptors():
    """Leave the process 100 more open files than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_local_holds_few_files_open_however_many_names_they_have(tools, tmp_path, few_descriptors):
    source, out = tmp_path / "many", tmp_path / "out"
    (source / "a").mkdir(parents=True)
    (source / "b").mkdir()
    for number in range(200):
        (source / "a" / str(number)).write_text(str(number))
        os.link(source / "a" / str(number), source / "b" / str(number))
    run(tools, source, "local", dest=out)
    assert all(os.path.samefile(out / "a" / str(n), out / "b" / str(n)) for n in range(200))


def test_local_goes_as_deep_as_the_result_does(tools, tmp_path, few_descriptors):
    source, out = tmp_path / "deep", tmp_path / "out"
    for depth in range(1200):
        (source / "/".join("d" * depth)).mkdir()
    (source / "/".join("d" * 1199) / "leaf").write_text("x")
    run(tools, source, "local", dest=out)
    assert (out / "/".join("d" * 1199) / "leaf").read_text() == "x"
    (source / "d").rename(source / "e")
    run(tools, source, "local", dest=out, mode="delete")
    assert os.listdir(out) == ["e"]
    remove_tree(source)
    remove_tree(out)


def test_local_keeps_extended_attributes(tools, files, tmp_path):
    out = tmp_path / "out"
    for path in ("dir", "dir/run"):
        os.setxattr(files / path, "user.who", path.encode())
    run(tools, files, "local", dest=out)
    assert os.getxattr(out / "dir", "user.who") == b"dir"
    assert os.getxattr(out / "hard", "user.who") == b"dir/run"


def test_local_keeps_the_holes_of_files(tools, tmp_path):
    source, out = tmp_path / "sparse", tmp_path / "out"
    source.mkdir()
    with (source / "disk").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    run(tools, source, "local", dest=out)
    copied = (out / "disk").stat()
    assert (copied.st_size, copied.st_blocks * 512 < 1 << 20) == (64 << 20, True)
    assert filecmp.cmp(source / "disk", out / "disk", shallow=False)


@pytest.mark.parametrize(("mode", "left"), [("copy", True), ("delete", False)])
def test_local_deletes_what_the_result_lacks_only_when_told(tools, files, tmp_path, mode, left):
    out = tmp_path / "out"
    (out / "dir" / "old").mkdir(parents=True)
    (out / "stale").write_text("")
    run(tools, files, "local", dest=out, mode=mode)
    assert ((out / "dir" / "old").exists(), (out / "stale").exists()) == (left, left)


def test_platforms_are_split_into_directories(tools, files, tmp_path):
    run(tools, files, "local", dest=tmp_path / "out", multi=True)
    assert os.listdir(tmp_path / "out") == ["linux_amd64"]
    run(tools, files, "local", dest=tmp_path / "flat", multi=True, platform_split="false")
    assert "hard" in os.listdir(tmp_path / "flat")


def test_absolute_links_lead_into_the_directory_of_their_platform(tools, tmp_path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    links = {"abs": "/etc/x", "d/root": "/", "d/odd": "//a//../b", "rel": "../x"}
    for name, target in links.items():
        (source / name).symlink_to(target)
    moved = {"abs": "/linux_amd64/etc/x", "d/root": "/linux_amd64", "d/odd": "/linux_amd64/b", "rel": "../x"}
    for split, expected in (("true", moved), ("false", links)):
        below = "linux_amd64/" if split == "true" else ""
        run(tools, source, "local", dest=tmp_path / split, platform_split=split)
        assert {name: os.readlink(tmp_path / split / below / name) for name in links} == expected
        run(tools, source, "tar", dest=tmp_path / "a.tar", platform_split=split)
        with tarfile.open(tmp_path / "a.tar") as archive:
            assert {name: archive.getmember(below + name).linkname for name in links} == expected


def test_a_tar_holds_links_and_owners(tools, files, tmp_path):
    run(tools, files, "tar", dest=tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = {member.name: member for member in archive}
    assert list(members) == ["dir", "dir/run", "hard", "link", "pipe"]
    assert members["hard"].linkname == "dir/run"
    assert members["pipe"].isfifo()
    assert members["dir/run"].mode == 0o4755


def test_a_stored_image_is_listed_tagged_kept_alive_and_removed(tools, files):
    response = run(tools, files, "image", names=("x:1",))
    images = tools.images
    assert [image.name for image in images.list()] == ["docker.io/library/x:1"]
    assert images.roots() >= {response["containerimage.digest"], response["containerimage.config.digest"]}
    assert len(images.roots()) == 3
    images.tag("x:1", "y")
    images.remove("x:1")
    assert [image.name for image in images.list()] == ["docker.io/library/y:latest"]
    images.remove(response["containerimage.digest"][:19])
    assert images.roots() == frozenset()
    with pytest.raises(SourceError):
        images.remove("x:1")


def test_an_image_without_a_name_cannot_be_pushed(tools, files):
    with pytest.raises(ExportError, match="without a name"):
        run(tools, files, "registry")


def test_history_is_completed_from_layers():
    layers = [LayerFacts(diff_id=f"d{n}", description=f"step {n}", created=n * 10**9) for n in (1, 2)]
    history = complete_history(
        [
            {"created": "2020-01-01T00:00:00.100Z", "created_by": "base"},
            {"created_by": "ENV a=b", "empty_layer": True},
        ],
        layers,
    )
    assert [entry["created"] for entry in history] == [
        "2020-01-01T00:00:00.1Z",
        "1970-01-01T00:00:02Z",
        "1970-01-01T00:00:02Z",
    ]
    assert (history[2]["created_by"], history[2]["comment"]) == ("step 2", "buildkit.exporter.image.v0")


def test_the_epoch_clamps_all_but_the_base_images_history():
    base = {
        "os": "linux",
        "architecture": "amd64",
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "base"}],
    }
    layers = [LayerFacts(diff_id=f"d{n}", description="", created=1_700_000_000 * 10**9) for n in (1, 2)]
    config = json.loads(
        image_config(
            json.dumps(base).encode(), AMD64, layers, epoch=1000, base_config=json.dumps(base).encode()
        )
    )
    assert [entry["created"] for entry in config["history"]] == [
        "2024-01-01T00:00:00Z",
        "1970-01-01T00:16:40Z",
    ]
    assert config["created"] == "1970-01-01T00:16:40Z"


def test_an_image_without_steps_is_as_old_as_its_base_whatever_the_epoch():
    base = {
        "os": "linux",
        "architecture": "amd64",
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "base"}],
    }
    layers = [LayerFacts(diff_id="d1", description="", created=None)]
    encoded = json.dumps(base).encode()
    config = json.loads(image_config(encoded, AMD64, layers, epoch=1000, base_config=encoded))
    assert config["created"] == "2024-01-01T00:00:00Z"
    given = json.dumps({**base, "created": "2024-01-01T00:00:00Z"}).encode()
    config = json.loads(image_config(given, AMD64, layers, epoch=1000, base_config=encoded))
    assert config["created"] == "1970-01-01T00:16:40Z"


@pytest.mark.parametrize("epoch", [None, 1_000_000_000])
def test_base_history_without_times_gets_that_of_the_first_new_layer_or_the_epoch(epoch):
    """As recorded from BuildKit, with an entry that has a time, ones that have none, and a new layer."""
    base = {
        "os": "linux",
        "architecture": "amd64",
        "history": [
            {"created": "2000-01-01T00:00:00Z", "created_by": "one"},
            {"created_by": "meta", "empty_layer": True},
            {"created_by": "two"},
        ],
    }
    image = {
        **base,
        "history": [*base["history"], {"created_by": "COPY"}, {"created_by": "LABEL", "empty_layer": True}],
    }
    layers = [LayerFacts(diff_id=f"d{n}", description="", created=None) for n in (1, 2)]
    layers.append(LayerFacts(diff_id="d3", description="", created=1_500_000_000 * 10**9))
    config = json.loads(
        image_config(
            json.dumps(image).encode(), AMD64, layers, epoch=epoch, base_config=json.dumps(base).encode()
        )
    )
    filled = "2017-07-14T02:40:00Z" if epoch is None else "2001-09-09T01:46:40Z"
    assert [entry["created"] for entry in config["history"]] == ["2000-01-01T00:00:00Z", *[filled] * 4]
    assert config["created"] == filled


def test_a_layer_of_an_image_has_no_history_but_its_images(tools, files, tmp_path):
    """Another image with the same layer may have told of it before."""
    blob = tools.layers.blob(tools.layers.add(files))
    number = tools.layers.add_lazy(blob.descriptor, blob.diff_id, "docker-image://other")
    result = PlatformExport(
        id="linux/amd64",
        platform=AMD64,
        snapshot=Snapshot((number, tools.layers.add(files))),
        config=CONFIG,
        base_config=b"{}",
    )
    request = ExportRequest(results=(result,), dest=tmp_path / "a.tar")
    response = export("oci", request, tools, cancel=Token(), report=lambda *_: None)
    config = json.loads(tools.store.read(response["containerimage.config.digest"]))
    assert config["history"] == [
        {
            "created": "2020-09-13T12:26:40.5Z",
            "created_by": text,
            "comment": "buildkit.exporter.image.v0",
        }
        for text in ("pulled from an image without history", "COPY . /")
    ]


def test_a_result_without_config_gets_a_default_one():
    config = json.loads(image_config(None, AMD64, []))
    assert config["config"]["WorkingDir"] == "/"
    with pytest.raises(ExportError):
        image_config(b"{}", AMD64, [])


def test_history_of_a_base_without_times_gets_the_epoch() -> None:
    layers = [LayerFacts(diff_id=f"sha256:{n}", description="pulled", created=None) for n in range(3)]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "history": [
            {"created_by": "a"},
            {"created_by": "b", "created": "2023-04-01T00:00:00Z"},
            {"created_by": "c", "empty_layer": True},
            {"created_by": "d"},
        ],
    }
    raw = json.dumps(config).encode()
    value = json.loads(image_config(raw, AMD64, layers, epoch=1700000000, base_config=raw))
    epoch, known = "2023-11-14T22:13:20Z", "2023-04-01T00:00:00Z"
    assert [entry["created"] for entry in value["history"]] == [epoch, known, epoch, epoch]
    assert value["created"] == epoch
