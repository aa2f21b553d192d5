# SPDX-License-Identifier: Apache-2.0
"""Short descriptive names of vertices and texts, numbered only where two would clash."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import assert_never

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Graph, Vertex

_LONGEST = 28
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh"})
_OTHER = re.compile(r"[^a-z0-9]+")
_SET = re.compile(r"set\s+[-+]\S+(\s+pipefail)?\s*(?:;|&&|\n)\s*")


def vertex_names(graph: Graph) -> dict[str, str]:
    """Return a name for each vertex digest, without its ``%``. Linear in the number of vertices."""
    return dict(
        zip((vertex.digest for vertex in graph), distinct(_name(vertex) for vertex in graph), strict=True)
    )


def text_names(graph: Graph) -> list[str]:
    """Return a name for each text of the source map, without its ``@``."""
    return list(
        distinct(
            re.sub(r"[^A-Za-z0-9_.-]+", "-", info.source.name.rpartition("/")[2])[:_LONGEST] or "text"
            for info in graph.source_map.infos
        )
    )


def distinct(names: Iterable[str]) -> Iterable[str]:
    """Yield names that are all different: ``-2``, ``-3``, ... behind those that were there before."""
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    for name in names:
        if name not in taken:
            taken.add(name)
            yield name
            continue
        number = next_number.get(name, 2)
        while f"{name}-{number}" in taken:
            number += 1
        next_number[name] = number + 1
        taken.add(f"{name}-{number}")
        yield f"{name}-{number}"


def _slug(text: str, fallback: str) -> str:
    short = _OTHER.sub("-", text[:200].lower()).strip("-")
    if len(short) > _LONGEST:
        short = short[: _LONGEST + 1].rpartition("-")[0] or short[:_LONGEST]
    return short.strip("-") or fallback


def _name(vertex: Vertex) -> str:
    match vertex.op:
        case ops.Source():
            return _source(vertex.op.identifier)
        case ops.Exec():
            return _slug("run " + _program(vertex.op.meta.args), "run")
        case ops.File():
            return _slug(_action(vertex.op.actions[0].action) if vertex.op.actions else "file", "file")
        case ops.Passthrough():
            return _slug(vertex.op.id, "passthrough")
        case ops.Merge() | ops.Diff() | ops.Build():
            return type(vertex.op).__name__.lower()
        case _:
            assert_never(vertex.op)


def _source(identifier: str) -> str:
    scheme, _, rest = identifier.partition("://")
    if scheme == "local":
        return _slug(f"local-{rest}", "local")
    path = re.split(r"[@#?]", rest, maxsplit=1)[0].rstrip("/")
    last = path.rpartition("/")[2]
    if scheme not in ("http", "https"):
        last = last.partition(":")[0]
    return _slug(last.removesuffix(".git"), _slug(scheme, "source"))


def _program(args: tuple[str, ...]) -> str:
    words = list(args)
    if len(words) == 3 and words[0].rpartition("/")[2] in _SHELLS and words[1].startswith("-"):
        lines = [line.strip() for line in _SET.sub("", words[2].strip()).split("\n")]
        said = next((line for line in lines if line and not line.startswith(("#", "<<", "set "))), "")
        return said or words[2]
    return " ".join([words[0].rpartition("/")[2], *words[1:]]) if words else ""


def _action(action: ops.Action) -> str:
    match action:
        case ops.Copy():
            return f"copy {_last(action.src) or _last(action.dest)}"
        case ops.MkFile():
            return f"mkfile {_last(action.path)}"
        case ops.MkDir():
            return f"mkdir {_last(action.path)}"
        case ops.Rm():
            return f"rm {_last(action.path)}"
        case ops.Symlink():
            return f"symlink {_last(action.newpath)}"
        case _:
            assert_never(action)


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
