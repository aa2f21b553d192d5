# SPDX-License-Identifier: Apache-2.0
"""The local image store through the command line: names, registries, archives, and commands run in images."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pty
import select
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.registry import registry

pytestmark = pytest.mark.root

PROGRAM = (
    "FROM base\nRUN echo made > /made\nENV PATH=/bin GREETING=hello\nWORKDIR /data\n"
    'ENTRYPOINT ["sh", "-c"]\nCMD ["echo $GREETING"]\n'
)


@pytest.fixture
def app(cli, project):
    """Build the image ``app:1``."""
    cli.build(project(PROGRAM), "-t", "app:1")
    return cli


def digest_of(cli, name: str) -> str:
    (row,) = json.loads(cli.run("inspect", name).stdout)
    return row["Id"]


def test_an_image_keeps_its_digest_through_registries_and_archives(app, cli, tmp_path: Path) -> None:
    first = digest_of(app, "app:1")
    with registry(tmp_path / "registry") as host:
        name = f"{host}/team/app:2"
        app.run("tag", "app:1", name)
        assert first in app.run("push", "-q", name).stdout
        app.run("save", "app:1", name, "-o", tmp_path / "both.tar")
        app.run("rmi", name, "app:1")
        assert app.run("images", "-q").stdout == ""
        app.run("pull", "-q", name)
        assert digest_of(app, name) == first
    fresh = type(cli)(tmp_path / "fresh")
    fresh.run("load", "-i", tmp_path / "both.tar")
    assert {digest_of(fresh, "app:1"), digest_of(fresh, name)} == {first}
    assert fresh.run("run", "app:1").stdout == "hello\n"


def test_an_index_travels_whole(cli, project, tmp_path: Path) -> None:
    folder = project(
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n", {"amd64": "a", "arm64": "b"}, base=False
    )
    with registry(tmp_path / "registry") as host:
        name = f"{host}/multi:1"
        cli.build(folder, "--platform", "linux/amd64,linux/arm64", "--push", "-t", name)
        cli.run("pull", "--platform", "all", name)
        root = digest_of(cli, name)
        cli.run("tag", name, f"{host}/multi:2")
        assert root in cli.run("push", "-q", f"{host}/multi:2").stdout
        one = json.loads(cli.run("inspect", "--platform", "linux/arm64", name).stdout)[0]
        assert (one["Architecture"], one["Id"]) == ("arm64", root)
        cli.run("pull", "-q", name)
        assert digest_of(cli, name) != root, "without --platform all it is one platform's image"


def test_archives_are_read_from_standard_input_compressed_and_in_the_older_form(app, tmp_path: Path) -> None:
    saved = subprocess.run(app.argv("save", "app:1"), env=app.env(), capture_output=True, check=True).stdout
    older = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(saved)) as new, tarfile.open(fileobj=older, mode="w") as old:
        for member in new:
            if member.name not in ("index.json", "oci-layout"):
                old.addfile(member, new.extractfile(member) if member.isreg() else None)
    app.run("rmi", "app:1")
    assert app.run("load", stdin=gzip.compress(older.getvalue())).stdout == "Loaded image: app:1\n"
    assert app.run("run", "app:1", "echo $GREETING again").stdout == "hello again\n"
    broken = gzip.compress(saved)[:-400]
    assert "is damaged" in app.run("load", stdin=broken, code=1).stderr
    assert "no index.json" in app.run("load", stdin=b"\0" * 10240, code=1).stderr


def test_a_command_sees_what_it_was_given_and_changes_nothing(app, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "vars").write_text("# comment\nFROM_FILE=yes\n")
    flags = (
        "-e",
        "GREETING=bye",
        "--env-file",
        tmp_path / "vars",
        "-v",
        f"{tmp_path}/shared:/mnt",
        "-w",
        "sub",
    )
    said = app.run(
        "run", *flags, "app:1", "echo $GREETING $FROM_FILE $PWD; touch /mnt/seen /gone; id -u"
    ).stdout
    assert said == "bye yes /data/sub\n0\n"
    assert (tmp_path / "shared" / "seen").exists()
    app.run("run", "app:1", "test ! -e /gone")
    assert app.run("run", "--entrypoint", "cat", "-i", "app:1", stdin=b"piped").stdout == "piped"
    assert app.run("run", "--user", "12:34", "app:1", "id -u; id -g").stdout == "12\n34\n"
    app.run("run", "--read-only", "app:1", "! touch /x 2>/dev/null")
    assert app.run("run", "--network", "none", "app:1", "ls /sys/class/net").stdout == "lo\n"


def test_exit_codes_are_the_commands(app) -> None:
    app.run("run", "app:1", "exit 7", code=7)
    app.run("run", "--entrypoint", "missing", "app:1", code=127)
    app.run("run", "-d", "app:1", code=2)
    app.run("run", "--pull", "never", "nope", code=1)
    app.run("run", "-t", "app:1", code=2)


def test_a_terminal_is_connected(app) -> None:
    main, other = pty.openpty()
    process = subprocess.Popen(
        app.argv("run", "-it", "app:1", "tty && read word && echo got $word"),
        env=app.env(), stdin=other, stdout=other, stderr=other, start_new_session=True,
    )  # fmt: skip
    os.close(other)
    os.write(main, b"typed\n")
    seen = b""
    while select.select([main], [], [], 60)[0]:
        try:
            seen += os.read(main, 4096)
        except OSError:
            break
    os.close(main)
    assert process.wait(60) == 0
    assert b"/dev/pts/" in seen
    assert b"got typed" in seen


def test_images_are_found_by_id_and_listed_with_sizes(app) -> None:
    short = app.run("images", "-q").stdout.strip()
    app.run("tag", short, "other:3")
    (first, second) = json.loads(app.run("images", "--format", "json").stdout)
    assert (first["name"], second["name"]) == ("app:1", "other:3")
    assert first["size"] == second["size"] > 100_000
    assert "has several names: app:1, other:3" in app.run("rmi", short, code=1).stderr
    app.run("rmi", "other:3")
    assert app.run("rmi", short).stdout == "Untagged: app:1\n"
    assert "no such image" in app.run("rmi", short, code=1).stderr
    app.run("rmi", "-f", short)
    app.run("image", "ls")


def test_an_index_that_names_another_twice_is_read_once(cli, tmp_path: Path) -> None:
    """Forty levels of two entries would be read a million million times."""
    layout = tmp_path / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(body: dict) -> dict:
        data = json.dumps(body).encode()
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}

    config = {"mediaType": "application/vnd.oci.image.config.v1+json", **put({"rootfs": {"diff_ids": []}})}
    kind = "application/vnd.oci.image.manifest.v1+json"
    entry = {"mediaType": kind, **put({"mediaType": kind, "config": config, "layers": []})}
    kind = "application/vnd.oci.image.index.v1+json"
    for _ in range(40):
        entry = {"mediaType": kind, **put({"mediaType": kind, "manifests": [entry, entry]})}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    named = {**entry, "annotations": {"io.containerd.image.name": "docker.io/library/twice:1"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    cli.run("load", "-i", layout)
    assert "twice" in cli.run("images").stdout
