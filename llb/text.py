# SPDX-License-Identifier: Apache-2.0
"""Graphs as text: one block a vertex, inputs by number, only what differs from the defaults.

%0 = source docker-image://docker.io/library/alpine:3.20   # [1/2] FROM alpine
platform linux/amd64
%1 = exec /bin/sh -c "make all"   # [2/2] RUN make all
cwd /src
mount / from %0 -> output 0
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import assert_never

from llb import ops
from llb import platform as platforms
from llb.graph import Edge, Graph, Vertex


def render(graph: Graph) -> str:
    """Return a graph as text, inputs before users, the head last."""
    numbers = {vertex.digest: number for number, vertex in enumerate(graph.vertices)}
    lines: list[str] = []
    for vertex in graph.vertices:
        name = graph.metadata_of(vertex.digest).description.get("llb.customname", "")
        lines.append(f"%{numbers[vertex.digest]} = {_head(vertex.op)}" + (f"   # {name}" if name else ""))
        lines += [f"  {line}" for line in _body(graph, vertex, numbers)]
    lines.append("head " + (_edge(graph.head, numbers) if graph.head is not None else "scratch"))
    return "\n".join(lines) + "\n"


def _edge(edge: Edge, numbers: dict[str, int]) -> str:
    suffix = f".{edge.index}" if edge.index else ""
    return f"%{numbers[edge.vertex.digest]}{suffix}"


def _word(text: str) -> str:
    plain = text and all(c.isalnum() or c in "-_./:=@+,%~" for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _head(op: ops.Op) -> str:
    match op:
        case ops.Source():
            return f"source {op.identifier}"
        case ops.Exec():
            return "exec " + " ".join(_word(arg) for arg in op.meta.args)
        case ops.File():
            return "file"
        case ops.Merge():
            return "merge"
        case ops.Diff():
            return "diff"
        case ops.Build():
            return "build"
        case ops.Passthrough():
            return f"passthrough {_word(op.id)}"
        case _:
            assert_never(op)


def _body(graph: Graph, vertex: Vertex, numbers: dict[str, int]) -> Iterator[str]:
    if vertex.platform is not None:
        yield f"platform {platforms.format(vertex.platform)}"
    for filter_ in vertex.constraints:
        yield f"require {_word(filter_)}"
    inputs = [_edge(edge, numbers) for edge in vertex.inputs]
    match vertex.op:
        case ops.Source() as op:
            yield from (f"{key} {_word(op.attrs[key])}" for key in sorted(op.attrs))
        case ops.Exec() as op:
            yield from _exec(op, inputs)
        case ops.File() as op:
            yield from _file(op, inputs)
        case ops.Merge() as op:
            yield from (f"input {inputs[number]}" for number in op.inputs)
        case ops.Diff() as op:
            yield f"lower {_place(op.lower, inputs)}"
            yield f"upper {_place(op.upper, inputs)}"
        case ops.Build() as op:
            yield from (f"{name} {_place(number, inputs)}" for name, number in sorted(op.inputs.items()))
        case ops.Passthrough() as op:
            yield from (f"output {inputs[number]}" for number in op.outputs)
            yield from (f"after {item}" for number, item in enumerate(inputs) if number not in op.outputs)
        case _:
            assert_never(vertex.op)
    if graph.metadata_of(vertex.digest).ignore_cache:
        yield "ignore-cache"


def _place(number: int, inputs: list[str]) -> str:
    return "scratch" if number < 0 else inputs[number]


def _exec(op: ops.Exec, inputs: list[str]) -> Iterator[str]:
    meta = op.meta
    if meta.cwd not in ("", "/"):
        yield f"cwd {_word(meta.cwd)}"
    if meta.user:
        yield f"user {_word(meta.user)}"
    yield from (f"env {_word(item)}" for item in meta.env)
    if op.network is not ops.NetMode.UNSET:
        yield f"network {op.network.name.lower()}"
    if op.security is not ops.SecurityMode.SANDBOX:
        yield f"security {op.security.name.lower()}"
    yield from (f"host {entry.host} {entry.ip}" for entry in meta.extra_hosts)
    yield from (f"ulimit {item.name} {item.soft}:{item.hard}" for item in meta.ulimit)
    yield from (_mount(mount, inputs) for mount in op.mounts)
    yield from (f"secret-env {item.name} id {_word(item.id)}" for item in op.secret_env)


def _mount(mount: ops.Mount, inputs: list[str]) -> str:
    words = ["mount", _word(mount.dest)]
    match mount.mount_type:
        case ops.MountType.BIND:
            words += ["from", _place(mount.input, inputs)]
        case ops.MountType.CACHE:
            assert mount.cache is not None, "a cache mount names its cache"
            words += ["cache", _word(mount.cache.id), mount.cache.sharing.name.lower()]
            if mount.input >= 0:
                words += ["from", inputs[mount.input]]
        case ops.MountType.TMPFS:
            words += ["tmpfs", str(mount.tmpfs.size if mount.tmpfs else 0)]
        case ops.MountType.SECRET:
            words += ["secret", _word(mount.secret.id if mount.secret else "")]
        case ops.MountType.SSH:
            words += ["ssh", _word(mount.ssh.id if mount.ssh else "")]
    if mount.selector:
        words += ["selector", _word(mount.selector)]
    if mount.readonly:
        words.append("ro")
    if mount.output >= 0 and mount.mount_type is ops.MountType.BIND:
        words += ["->", "output", str(mount.output)]
    return " ".join(words)


def _file(op: ops.File, inputs: list[str]) -> Iterator[str]:
    count = len(inputs)

    def place(number: int) -> str:
        return "scratch" if number < 0 else inputs[number] if number < count else f"action {number - count}"

    for number, item in enumerate(op.actions):
        output = f" -> output {item.output}" if item.output >= 0 else ""
        yield f"action {number} on {place(item.input)}: {_action(item, place(item.secondary_input))}{output}"


def _action(item: ops.FileAction, source: str) -> str:
    match item.action:
        case ops.Copy() as copy:
            words = ["copy", f"{source}:{copy.src}", "to", copy.dest]
            words += [f"mode={copy.mode_str or oct(copy.mode)}"] if copy.mode_str or copy.mode >= 0 else []
            words += [f"include={pattern}" for pattern in copy.include_patterns]
            words += [f"exclude={pattern}" for pattern in copy.exclude_patterns]
            return " ".join(words)
        case ops.MkFile() as file:
            return f"mkfile {file.path} {oct(file.mode)} ({len(file.data)} bytes)"
        case ops.MkDir() as folder:
            return f"mkdir {folder.path} {oct(folder.mode)}" + (" parents" if folder.make_parents else "")
        case ops.Rm() as gone:
            return f"rm {gone.path}"
        case ops.Symlink() as link:
            return f"symlink {link.newpath} -> {link.oldpath}"
        case _:
            assert_never(item.action)
