# SPDX-License-Identifier: Apache-2.0
"""Build contexts: what ``PATH | URL | -``, ``--file`` and ``--build-context`` mean for the frontend.

Local directories are read in place. What comes on standard input is unpacked below a scratch directory that the
caller owns. Everything remote stays a URL that the frontend turns into a source.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from llbkit.csvflags import FlagError

_GIT = re.compile(r"^(git://|git@|ssh://|github\.com/)|^https?://[^?#]*\.git(?:[?#].*)?$")
_HTTP = re.compile(r"^https?://")


@dataclass(slots=True)
class Context:
    """Frontend options, local directories and OCI stores of one build."""

    options: dict[str, str] = field(default_factory=dict)
    locals: dict[str, Path] = field(default_factory=dict)
    oci_stores: dict[str, Path] = field(default_factory=dict)


def is_remote(text: str) -> bool:
    """Tell whether a context is a git or HTTP address."""
    return bool(_GIT.search(text) or _HTTP.search(text))


def resolve(
    where: str, dockerfile: str | None, named: Mapping[str, str], *, stdin: BinaryIO, scratch: Path
) -> Context:
    """Return the context of a command line.

    ``scratch`` is an empty directory for what comes on ``stdin``.

    Raises:
        FlagError: a path does not exist or the combination makes no sense.
    """
    context = Context()
    if where == "-" and dockerfile == "-":
        raise FlagError("the context and the Dockerfile cannot both come from standard input")
    if where == "-":
        _from_stdin(context, stdin, scratch)
    elif is_remote(where):
        context.options["context"] = where
    else:
        context.locals["context"] = _directory("the build context", where)
    _dockerfile(context, where, dockerfile, stdin, scratch)
    for name, value in named.items():
        _named(context, name, value)
    return context


def _from_stdin(context: Context, stdin: BinaryIO, scratch: Path) -> None:
    data = stdin.read()
    target = scratch / "context"
    target.mkdir()
    context.locals["context"] = target
    if _is_archive(data):
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(target, filter="tar")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise FlagError(f"the archive on standard input cannot be unpacked: {error}") from error
        return
    if not data.strip():
        raise FlagError(
            "standard input is empty", help="pipe a Dockerfile or a tar archive into `llbkit build -`"
        )
    folder = scratch / "dockerfile"
    folder.mkdir()
    (folder / "Dockerfile").write_bytes(data)
    context.locals["dockerfile"] = folder


def _is_archive(data: bytes) -> bool:
    magics = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
    return data.startswith(magics) or data[257:262] == b"ustar"


def _dockerfile(context: Context, where: str, dockerfile: str | None, stdin: BinaryIO, scratch: Path) -> None:
    if dockerfile is None:
        if "context" in context.locals:
            context.locals.setdefault("dockerfile", context.locals["context"])
        return
    if dockerfile == "-":
        folder = scratch / "dockerfile"
        folder.mkdir()
        (folder / "Dockerfile").write_bytes(stdin.read())
        context.locals["dockerfile"] = folder
        if "context" not in context.locals:
            context.options["dockerfilekey"] = "dockerfile"
        return
    if "context" not in context.locals or where == "-":
        context.options["filename"] = dockerfile
        if where == "-":
            context.locals["dockerfile"] = context.locals["context"]
        return
    path = Path(dockerfile)
    if (
        not path.is_file()
        and not path.is_absolute()
        and (inside := context.locals["context"] / path).is_file()
    ):
        path = inside
    if not path.is_file():
        raise FlagError(f"there is no file {dockerfile}", help=_similar(path))
    context.options["filename"] = path.name
    context.locals["dockerfile"] = path.absolute().parent


def _named(context: Context, name: str, value: str) -> None:
    key = f"context:{name}"
    if value.startswith("oci-layout://"):
        _oci_layout(context, name, value.removeprefix("oci-layout://"))
    elif "://" in value or is_remote(value) or value.startswith("target:"):
        context.options[key] = value
    else:
        context.locals[name] = _directory(f"--build-context {name}", value)
        context.options[key] = f"local:{name}"


def _oci_layout(context: Context, name: str, value: str) -> None:
    path, at, digest = value.partition("@")
    tag = ""
    if not Path(path).exists() and ":" in path:
        path, _, tag = path.rpartition(":")
    store = _directory(f"--build-context {name}", path)
    if not at:
        digest = _digest_of_tag(store, tag or "latest", explicit=bool(tag))
    context.oci_stores[name] = store
    context.options[f"context:{name}"] = f"oci-layout://{name}@{digest}"


def _digest_of_tag(store: Path, tag: str, *, explicit: bool) -> str:
    try:
        manifests = json.loads((store / "index.json").read_bytes())["manifests"]
        tagged = {
            m.get("annotations", {}).get("org.opencontainers.image.ref.name", ""): m["digest"]
            for m in manifests
        }
        if tag in tagged:
            return str(tagged[tag])
        if not explicit and len(manifests) == 1:
            return str(manifests[0]["digest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FlagError(f"{store} is not an OCI layout: {error}") from error
    known = ", ".join(sorted(filter(None, tagged))) or "none"
    raise FlagError(f"the OCI layout {store} has no tag {tag!r}", help=f"its tags: {known}")


def _directory(what: str, text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        return path.absolute()
    if path.exists():
        raise FlagError(f"{what} {text} is not a directory")
    raise FlagError(f"{what} {text} does not exist", help=_similar(path))


def _similar(path: Path) -> str:
    from grammar import nearest

    parent = path.parent if path.parent.is_dir() else None
    known = nearest(path.name, [entry.name for entry in parent.iterdir()], limit=3) if parent else None
    return (
        f"did you mean {parent / known}?"
        if parent and known
        else "paths are taken from the current directory"
    )
