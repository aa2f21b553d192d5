# SPDX-License-Identifier: Apache-2.0
"""Graphs as text: one block a vertex, inputs by number, and of an op all that is not the usual.

%0 = source docker-image://docker.io/library/alpine:3.20  # [1/2] FROM alpine
  platform linux/amd64
%1 = exec /bin/sh -c "make all"  # [2/2] RUN make all
  platform linux/amd64
  cwd /src
  mount / from %0 -> output 0
head %1

Usual is what the builder writes unless told otherwise: the root as directory, times and modes that are kept. Ops that
differ have different texts; contents of files are given by size and digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import IntEnum
from typing import Any, assert_never

from llb import ops
from llb import platform as platforms
from llb.graph import NO_METADATA, Edge, Graph, Metadata, Vertex

_PLAIN = frozenset("-_./:=@+,%~")


def render(graph: Graph) -> str:
    """Return a graph as text, inputs before users, the head last."""
    numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
    lines: list[str] = []
    for vertex in graph.vertices:
        metadata = graph.metadata_of(vertex.digest)
        name = metadata.description.get("llb.customname", "")
        comment = f"  # {name if name.isprintable() else _word(name)}" if name else ""
        lines.append(f"%{numbers[vertex.digest]} = {_head(vertex.op)}{comment}")
        inputs = [_edge(edge, numbers) for edge in vertex.inputs]
        lines += [f"  {line}" for line in (*_common(vertex), *_body(vertex.op, inputs), *_beside(metadata))]
    lines.append("head " + (_edge(graph.head, numbers) if graph.head is not None else "scratch"))
    return "\n".join(lines) + "\n"


def _edge(edge: Edge, numbers: Mapping[str, int]) -> str:
    suffix = f".{edge.index}" if edge.index else ""
    return f"%{numbers[edge.vertex.digest]}{suffix}"


def _word(text: str) -> str:
    if text and all(c.isalnum() or c in _PLAIN for c in text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _place(number: int, inputs: list[str]) -> str:
    return "scratch" if number < 0 else inputs[number]


def _bytes(data: bytes) -> str:
    return f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()}"


def _more(value: Any, *said: str, usual: Mapping[str, object] | None = None) -> list[str]:
    """Return words for the fields that are neither ``said`` elsewhere nor have their usual value."""
    words = []
    for item in fields(value):
        found = getattr(value, item.name)
        if item.name not in said and found != (usual or {}).get(item.name, _default(item)):
            words += _said(item.name, found)
    return words


def _default(item: Field[Any]) -> object:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _said(name: str, value: Any) -> list[str]:
    match value:
        case bool():
            return [name if value else f"{name}=no"]
        case IntEnum():
            return [f"{name}={value.name.lower()}"]
        case int():
            return [f"{name}={oct(value) if name == 'mode' and value >= 0 else value}"]
        case str():
            return [f"{name}={_word(value)}"]
        case bytes():
            return [f"{name}={value.hex()}"]
        case tuple():
            return [word for item in value for word in _said(name, item)]
        case _ if is_dataclass(value):
            return [f"{name}({' '.join(_more(value))})"]
        case _:
            raise TypeError(f"{name}: there is no text for a {type(value).__name__}")


def _head(op: ops.Op) -> str:
    match op:
        case ops.Source():
            return f"source {_word(op.identifier)}"
        case ops.Exec():
            return " ".join(["exec", *map(_word, op.meta.args)])
        case ops.Passthrough():
            return f"passthrough {_word(op.id)}"
        case ops.File() | ops.Merge() | ops.Diff() | ops.Build():
            return type(op).__name__.lower()
        case _:
            assert_never(op)


def _common(vertex: Vertex) -> Iterator[str]:
    if vertex.platform is not None:
        name = _word(platforms.format(vertex.platform))
        yield " ".join(["platform", name, *_more(vertex.platform, "os", "architecture", "variant")])
    yield from (f"require {_word(item)}" for item in vertex.constraints)


def _beside(metadata: Metadata) -> list[str]:
    if metadata == NO_METADATA:
        return []
    return _more(metadata, "description", "caps")


def _body(op: ops.Op, inputs: list[str]) -> Iterator[str]:
    match op:
        case ops.Source():
            yield from _attrs(op.attrs)
        case ops.Exec():
            yield from _exec(op, inputs)
        case ops.File():
            yield from _file(op, inputs)
        case ops.Merge():
            yield from (f"input {inputs[number]}" for number in op.inputs)
        case ops.Diff():
            yield f"lower {_place(op.lower, inputs)}"
            yield f"upper {_place(op.upper, inputs)}"
        case ops.Build():
            if op.builder >= 0:
                yield f"builder {inputs[op.builder]}"
            yield from (f"input {_word(name)} {_place(n, inputs)}" for name, n in sorted(op.inputs.items()))
            if op.definition is not None:
                yield f"definition {_bytes(op.definition)}"
            yield from _attrs(op.attrs)
        case ops.Passthrough():
            yield from (f"output {inputs[number]}" for number in op.outputs)
            yield from (f"after {item}" for number, item in enumerate(inputs) if number not in op.outputs)
        case _:
            assert_never(op)


def _attrs(attrs: Mapping[str, str]) -> Iterator[str]:
    return (f"attr {_word(key)} {_word(attrs[key])}" for key in sorted(attrs))


def _exec(op: ops.Exec, inputs: list[str]) -> Iterator[str]:
    meta = op.meta
    if meta.cwd != "/":
        yield f"cwd {_word(meta.cwd)}"
    if meta.user:
        yield f"user {_word(meta.user)}"
    yield from (f"env {_word(item)}" for item in meta.env)
    yield from (f"host {_word(entry.host)} {_word(entry.ip)}" for entry in meta.extra_hosts)
    yield from (f"ulimit {_word(item.name)} {item.soft}:{item.hard}" for item in meta.ulimit)
    yield from _more(
        meta,
        *("args", "cwd", "user", "env", "extra_hosts", "ulimit"),
        usual={"remove_mount_stubs_recursive": True},
    )
    yield from _more(op, "meta", "mounts", "secret_env", "cdi_devices")
    yield from (_mount(mount, inputs) for mount in op.mounts)
    for secret in op.secret_env:
        yield " ".join(["secret-env", _word(secret.name), *_more(secret, "name")])
    for device in op.cdi_devices:
        yield " ".join(["device", _word(device.name), *_more(device, "name")])


def _mount(mount: ops.Mount, inputs: list[str]) -> str:
    kind = mount.mount_type
    option = kind.name.lower()
    words = ["mount", _word(mount.dest)]
    if kind is not ops.MountType.BIND:
        words.append(option)
        if (given := getattr(mount, option)) is not None:
            words += _more(given) or ["size=0"]
    if mount.input >= 0 or kind is ops.MountType.BIND:
        words += ["from", _place(mount.input, inputs)]
    words += _more(mount, "dest", "input", "output", "mount_type", option)
    # Secrets and agents are written with output 0 although they have none.
    none = 0 if kind in (ops.MountType.SECRET, ops.MountType.SSH) else -1
    if mount.output != none:
        words += ["->", "output", str(mount.output)]
    return " ".join(words)


def _file(op: ops.File, inputs: list[str]) -> Iterator[str]:
    count = len(inputs)

    def place(number: int) -> str:
        return "scratch" if number < 0 else inputs[number] if number < count else f"action {number - count}"

    for number, item in enumerate(op.actions):
        words = [f"action {number} on {place(item.input)}:"]
        if isinstance(item.action, ops.Copy):
            words += ["copy from", place(item.secondary_input), *_copy(item.action, inputs)]
        else:
            words += _action(item.action, inputs)
            words += [f"beside {place(item.secondary_input)}"] if item.secondary_input >= 0 else []
        words += [f"-> output {item.output}"] if item.output != -1 else []
        yield " ".join(words)


def _copy(copy: ops.Copy, inputs: list[str]) -> list[str]:
    usual = {"mode": 0 if copy.mode_str else -1, "timestamp": -1}
    words = [_word(copy.src), "to", _word(copy.dest), *_owner(copy.owner, inputs)]
    return words + _more(copy, "src", "dest", "owner", usual=usual)


def _action(action: ops.MkFile | ops.MkDir | ops.Rm | ops.Symlink, inputs: list[str]) -> list[str]:
    usual = {"timestamp": -1}
    match action:
        case ops.MkFile():
            words = ["mkfile", _word(action.path), f"({_bytes(action.data)})", *_owner(action.owner, inputs)]
            return words + _more(action, "path", "data", "owner", usual=usual)
        case ops.MkDir():
            words = ["mkdir", _word(action.path), *_owner(action.owner, inputs)]
            return words + _more(action, "path", "owner", usual=usual)
        case ops.Rm():
            return ["rm", _word(action.path), *_more(action, "path")]
        case ops.Symlink():
            words = ["symlink", _word(action.newpath), "to", _word(action.oldpath)]
            return (
                words
                + _owner(action.owner, inputs)
                + _more(action, "oldpath", "newpath", "owner", usual=usual)
            )
        case _:
            assert_never(action)


def _owner(owner: ops.Chown | None, inputs: list[str]) -> list[str]:
    if owner is None:
        return []
    return [f"owner={_who(owner.user, inputs)}:{_who(owner.group, inputs)}"]


def _who(user: ops.UserOpt | None, inputs: list[str]) -> str:
    match user:
        case None:
            return ""
        case int():
            return str(user)
        case _:
            return f"{json.dumps(user.name)}@{_place(user.input, inputs)}"
