# SPDX-License-Identifier: Apache-2.0
"""The base images: written as tar and JSON with nothing of ours, and pushed over the distribution API."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

BUSYBOX = Path("/bin/busybox")
APPLETS = [
    "sh",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "mv",
    "od",
    "printf",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "ulimit",
    "umask",
    "uname",
    "wc",
    "xargs",
]
TIME = 1_500_000_000
EPOCH = "2017-07-14T02:40:00Z"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nweb:x:33:44::/srv:/bin/sh\nnum:x:7:7::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\ndata:x:2000:app,web\nwww:x:44:\n"

VARIANTS: dict[str, list[tuple]] = {
    "plain": [],
    "users": [
        ("etc/passwd", "file", 0o644, 0, 0, PASSWD), ("etc/group", "file", 0o644, 0, 0, GROUP),
        ("home/app", "dir", 0o750, 1000, 1000, ""), ("home/app/.rc", "file", 0o600, 1000, 1000, "rc\n"),
        ("home/app/.rc2", "hard", 0o600, 1000, 1000, "home/app/.rc"),
        ("tmp", "dir", 0o1777, 0, 0, ""), ("shared", "dir", 0o2775, 0, 2000, ""), ("shared/in", "dir", 0o2755, 33, 2000, ""),
        ("opt/data", "dir", 0o700, 7, 44, ""), ("opt/data/a", "file", 0o4755, 7, 44, "a\n"), ("opt/data/b", "hard", 0o4755, 7, 44, "opt/data/a"),
        ("opt/data/c", "file", 0o2711, 33, 7, "c\n"), ("opt/link", "link", 0o777, 0, 0, "data"), ("opt/abs", "link", 0o777, 0, 0, "/shared"),
        ("opt/dangling", "link", 0o777, 0, 0, "/nowhere/x"), ("opt/up", "link", 0o777, 0, 0, "../../home"),
        ("var/pipe", "fifo", 0o644, 0, 0, ""), ("var/null", "char", 0o666, 0, 0, ""), ("var/[odd] *name", "file", 0o644, 0, 0, "odd\n"),
    ],
}  # fmt: skip
CONFIGS: dict[str, dict] = {
    "plain": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    "users": {"Env": ["PATH=/bin", "HOME=/home/app", "A=from base"], "Cmd": ["sh"]},
    "asuser": {"Env": ["PATH=/bin", "HOME=/home/app"], "User": "app", "WorkingDir": "/home/app", "Cmd": ["sh"]},
    "full": {
        "Env": ["PATH=/bin", "X=1"], "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["true"], "Labels": {"base": "full", "z": ""},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/vol": {}}, "StopSignal": "SIGQUIT", "Shell": ["/bin/sh", "-ec"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Retries": 2}, "ArgsEscaped": True,
    },
    "onbuild": {"Env": ["PATH=/bin"], "OnBuild": ["ENV TRIGGERED=yes", "RUN echo triggered > /triggered", "WORKDIR /trigger"]},
}  # fmt: skip


def push_bases(repository: str) -> None:
    """Push every base image as ``repository/base:NAME``, repository being ``HOST:PORT/PATH``.

    No two share a layer, those of other repositories included: what runs at the same time and is the same for BuildKit, it
    shows once, under either's name.
    """
    whiteouts = [
        ("opt", "dir", 0o755, 0, 0, ""),
        ("opt/data", "dir", 0o700, 7, 44, ""),
        ("opt/data/.wh.c", "file", 0o600, 0, 0, ""),
        ("opt/.wh.link", "file", 0o600, 0, 0, ""),
    ]
    parts = {
        "users": [VARIANTS["users"]],
        "asuser": [VARIANTS["users"]],
        "nohistory": [VARIANTS["users"]],
        "whiteout": [VARIANTS["users"], whiteouts],
    }
    extras: dict[str, dict] = {
        "nohistory": {"history": None},
        "undated": {"history": [{"created_by": "undated"}], "created": None},
        "arm64": {"architecture": "arm64", "variant": "v8"},
        "v2": {"variant": "v2"},
        "empty": {"history": [{"created": EPOCH, "created_by": "layer"}, {"created": EPOCH, "created_by": "ENV X=1", "empty_layer": True}]},
    }  # fmt: skip
    for name in (
        "plain",
        "users",
        "asuser",
        "full",
        "onbuild",
        "whiteout",
        "nohistory",
        "undated",
        "empty",
        "arm64",
        "v2",
    ):
        mark = ("etc/base", "file", 0o644, 0, 0, f"{name} {repository.partition('/')[2]}")
        layers = [
            _layer(_busybox(mark)),
            *(_layer(_entries(_with_parents([*rows, mark]))) for rows in parts.get(name, [])),
        ]
        config = CONFIGS.get(name, CONFIGS["users" if name in parts else "plain"])
        _put_manifest(
            repository, name, _image(repository, layers, config, extras.get(name, {})), MANIFEST_TYPE
        )
    _push_index(repository, _layer(_busybox(("etc/base", "file", 0o644, 0, 0, repository.partition("/")[2]))))


def _push_index(repository: str, root: bytes) -> None:
    platforms = [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
        {"os": "linux", "architecture": "ppc64le", "os.version": "1.2"},
        {"os": "linux", "architecture": "riscv64", "os.features": ["sse4"]},
        {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1", "os.features": ["win32k"]},
    ]
    manifests = []
    for platform in platforms:
        extra = {**platform, "config_only": True}
        layer = _layer(_entries([("which", "file", 0o644, 0, 0, json.dumps(platform))]))
        data = _image(repository, [root, layer], CONFIGS["plain"], extra)
        _put_manifest(repository, _digest(data), data, MANIFEST_TYPE)
        manifests.append(
            {"mediaType": MANIFEST_TYPE, "digest": _digest(data), "size": len(data), "platform": platform}
        )
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).encode()
    _put_manifest(repository, "multi", index, INDEX_TYPE)


def _busybox(mark: tuple) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    yield from _entries([(name, "dir", 0o755, 0, 0, "") for name in ("bin", "etc", "proc", "sys", "dev")])
    yield from _entries([mark])
    info = tarfile.TarInfo("bin/busybox")
    data = BUSYBOX.read_bytes()
    info.mode, info.mtime, info.size = 0o755, TIME, len(data)
    yield info, data
    yield from _entries([(f"bin/{applet}", "link", 0o777, 0, 0, "busybox") for applet in APPLETS])


def _entries(rows: list[tuple]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE, "char": tarfile.CHRTYPE}  # fmt: skip
    for name, kind, mode, uid, gid, text in rows:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.mtime = kinds[kind], mode, uid, gid, TIME
        data = text.encode() if kind == "file" else b""
        info.size, info.linkname = len(data), text if kind in ("link", "hard") else ""
        if kind == "char":
            info.devmajor, info.devminor = 1, 3
        yield info, data


def _with_parents(rows: list[tuple]) -> list[tuple]:
    """Return rows with every directory above them, as builders write layers: containerd dates the others anew."""
    there = {row[0] for row in rows}
    above = {str(folder) for row in rows for folder in PurePosixPath(row[0]).parents} - there - {"."}
    return [*((folder, "dir", 0o755, 0, 0, "") for folder in sorted(above)), *rows]


def _layer(entries: Iterator[tuple[tarfile.TarInfo, bytes]] | list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _image(repository: str, layers: list[bytes], config: dict, extra: dict) -> bytes:
    history = extra.get(
        "history", [{"created": EPOCH, "created_by": f"layer {at}"} for at in range(len(layers))]
    )
    body = {
        "architecture": extra.get("architecture", "amd64"), "os": extra.get("os", "linux"), "created": extra.get("created", EPOCH),
        "config": config, "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]}, "history": history,
        **{key: extra[key] for key in ("variant", "os.version", "os.features") if key in extra},
    }  # fmt: skip
    encoded = json.dumps({key: value for key, value in body.items() if value is not None}).encode()
    for blob in (*layers, encoded):
        _put_blob(repository, blob)
    descriptors = [
        {"mediaType": LAYER_TYPE, "digest": _digest(layer), "size": len(layer)} for layer in layers
    ]
    top = {"mediaType": CONFIG_TYPE, "digest": _digest(encoded), "size": len(encoded)}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": top, "layers": descriptors}
    ).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _base(repository: str) -> str:
    host, _, path = repository.partition("/")
    return f"http://{host}/v2/{path}/base"


def _put_blob(repository: str, data: bytes) -> None:
    start = urllib.request.Request(f"{_base(repository)}/blobs/uploads/", method="POST")
    with urllib.request.urlopen(start) as answer:
        place = answer.headers["Location"]
    glue = "&" if "?" in place else "?"
    put = urllib.request.Request(f"{place}{glue}digest={_digest(data)}", data=data, method="PUT")
    put.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(put).close()


def _put_manifest(repository: str, name: str, data: bytes, kind: str) -> None:
    put = urllib.request.Request(f"{_base(repository)}/manifests/{name}", data=data, method="PUT")
    put.add_header("Content-Type", kind)
    urllib.request.urlopen(put).close()
