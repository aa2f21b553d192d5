# SPDX-License-Identifier: Apache-2.0
"""Build contexts: the meaning of ``PATH | URL | -``, ``--file`` and ``--build-context`` for the frontend.

Local directories are read in place. What comes on standard input is kept below a scratch directory that the caller
owns. Everything remote stays a URL that the frontend turns into a source.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llbkit.records import dataclass
from llbkit.request.csvflags import FlagError

if TYPE_CHECKING:
    from llbkit.llb import State

_STDIN = "stdin"
_GIT = re.compile(r"^(git://|git@|ssh://|github\.com/)|^https?://[^?#]*\.git(?:[?#].*)?$")
_HTTP = re.compile(r"^https?://")


@dataclass(slots=True)
class Context:
    """Frontend options, local directories, OCI stores, inputs and downloads of one build (see `BuildRequest`)."""

    options: dict[str, str] = field(default_factory=dict)
    locals: dict[str, Path] = field(default_factory=dict)
    oci_stores: dict[str, Path] = field(default_factory=dict)
    inputs: dict[str, State] = field(default_factory=dict)
    downloads: dict[Path, str] = field(default_factory=dict)


def is_remote(text: str) -> bool:
    """Return whether a context is a git or HTTP address."""
    return bool(_GIT.search(text) or _HTTP.search(text))


def resolve(
    where: str, dockerfile: str | None, named: Mapping[str, str], *, stdin: BinaryIO, scratch: Path
) -> Context:
    """Return the context of a command line.

    ``scratch`` is an empty directory for what comes on ``stdin`` or is downloaded.

    Raises:
        FlagError: a path does not exist or the combination makes no sense.
    """
    context = Context()
    if where == "-" and dockerfile == "-":
        raise FlagError("the context and the Dockerfile cannot both come from standard input")
    if where == "-":
        _from_stdin(context, dockerfile, stdin, scratch)
    elif is_remote(where) and not Path(where).is_dir():
        context.options["context"] = where
    else:
        context.locals["context"] = _directory("the build context", where)
    _dockerfile(context, dockerfile, stdin, scratch)
    for name, value in named.items():
        _named(context, _context_name(name), value)
    return context


def _from_stdin(context: Context, dockerfile: str | None, stdin: BinaryIO, scratch: Path) -> None:
    """Take a Dockerfile, or an archive, which is a context as if it came by HTTP: no ignore file is asked."""
    from llbkit.frontends.kit.inputs.archive import HEAD, is_archive
    from llbkit.worker.archive.decompress import format_of

    head = stdin.read(HEAD)
    if is_archive(head) or format_of(head) is not None:
        folder = scratch / _STDIN
        folder.mkdir()
        with (folder / "context").open("wb") as file:
            file.write(head)
            shutil.copyfileobj(stdin, file)
        context.locals[_STDIN] = folder
        state = _unpacked_context()
        context.inputs |= {"context": state, "dockerfile": state}
        return
    if dockerfile:
        raise FlagError(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            help="remove --file, or use a directory instead of -",
        )
    if not head.strip():
        raise FlagError(
            "standard input is empty", help="pipe a Dockerfile or a tar archive into `llbkit build -`"
        )
    empty = scratch / "context"
    empty.mkdir()
    context.locals["context"] = empty
    _put_dockerfile(context, scratch).write_bytes(head + stdin.read())


def _unpacked_context() -> State:
    from llbkit.llb import local, scratch

    archive = local(_STDIN, name="[internal] load remote build context")
    return scratch().copy(archive, "/context", "/", unpack=True)


def _dockerfile(context: Context, dockerfile: str | None, stdin: BinaryIO, scratch: Path) -> None:
    if dockerfile is None:
        if "context" in context.locals:
            context.locals.setdefault("dockerfile", context.locals["context"])
    elif dockerfile == "-":
        _put_dockerfile(context, scratch).write_bytes(stdin.read())
    elif _HTTP.search(dockerfile):
        context.downloads[_put_dockerfile(context, scratch)] = dockerfile
    elif "context" in context.locals:
        _local_dockerfile(context, _existing(dockerfile, context.locals["context"]))
    elif context.inputs or not Path(dockerfile).is_absolute():
        context.options["filename"] = dockerfile  # inside what is remote
    else:
        _local_dockerfile(context, _existing(dockerfile, Path()))
        context.options["dockerfilekey"] = "dockerfile"


def _put_dockerfile(context: Context, scratch: Path) -> Path:
    """Return where to write a Dockerfile that is read in place of the context's."""
    folder = scratch / "dockerfile"
    folder.mkdir()
    context.locals["dockerfile"] = folder
    context.options["dockerfilekey"] = "dockerfile"
    return folder / "Dockerfile"


def _local_dockerfile(context: Context, path: Path) -> None:
    context.options["filename"] = path.name
    context.locals["dockerfile"] = path.absolute().parent


def _existing(dockerfile: str, inside: Path) -> Path:
    """Return the Dockerfile of that name: from here, or else in the context; ``dockerfile`` does for ``Dockerfile``."""
    path = Path(dockerfile)
    for place in (path, inside / path):
        lower = place.with_name("dockerfile") if place.name == "Dockerfile" else place
        if place.is_file() or lower.is_file():
            return place
    if path.is_dir():
        raise FlagError(f"{dockerfile} is a directory", help="use a Dockerfile in it")
    raise FlagError(f"{dockerfile} does not exist", help=_similar(path))


def _context_name(text: str) -> str:
    """Return a context's name as frontends ask for it: short, without ``:latest``; ``::PLATFORM`` stays."""
    from llbkit.llb.address.reference import InvalidReferenceError, parse

    name, separator, platform = text.partition("::")
    try:
        short = parse(name).familiar.removesuffix(":latest")
    except InvalidReferenceError as error:
        raise FlagError(f"--build-context: invalid context name {name}: {error}", help=error.help) from None
    return short + separator + platform


def _named(context: Context, name: str, value: str) -> None:
    key = f"context:{name}"
    if value.startswith("oci-layout://"):
        _oci_layout(context, name, value.removeprefix("oci-layout://"))
    elif "://" in value or is_remote(value) or value.startswith("target:"):
        context.options[key] = value
    else:
        directory = f"_{name}" if name in ("context", "dockerfile", _STDIN) else name
        context.locals[directory] = _directory(f"--build-context {name}", value)
        context.options[key] = f"local:{directory}"


def _oci_layout(context: Context, name: str, value: str) -> None:
    path, at, digest = value.partition("@")
    tag = ""
    if not Path(path).exists() and ":" in path:
        path, _, tag = path.rpartition(":")
    store = _directory(f"--build-context {name}", path)
    if not at:
        digest = _digest_of_tag(store, tag or "latest", explicit=bool(tag))
    known = _store_name(name, context.oci_stores)
    context.oci_stores[known] = store
    context.options[f"context:{name}"] = f"oci-layout://{known}@{digest}"


def _store_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a context's layout. It is that of a repository: a tag or a platform may not be part of it."""
    base = "-".join(re.findall("[a-z0-9]+", name.lower())) or "layout"
    names = (base, *(f"{base}-{number}" for number in range(2, len(taken) + 3)))
    return next(one for one in names if one not in taken)


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
    raise FlagError(f"the OCI layout {store} has no tag {tag!r}", help=f"available tags: {known}")


def _directory(what: str, text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        return path.absolute()
    if path.exists():
        raise FlagError(f"{what} {text} is not a directory")
    raise FlagError(f"{what} {text} does not exist", help=_similar(path))


def _similar(path: Path) -> str:
    from llbkit.grammar import nearest

    parent = path.parent if path.parent.is_dir() else None
    names = [entry.name for entry in parent.iterdir() if entry.name != path.name] if parent else []
    known = nearest(path.name, names, limit=3)
    return (
        f"did you mean {parent / known}?"
        if parent and known
        else "paths are relative to the current directory"
    )
