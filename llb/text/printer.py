# SPDX-License-Identifier: Apache-2.0
"""Graphs to text: see `llbkit.llb.text`. Linear in the size of the graph."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo
from llbkit.llb.text.fields import MODE, base64_word, field_words, quoted, word
from llbkit.llb.text.naming import text_names, vertex_names
from llbkit.llb.tools.names import name_of

NAME = "llb.customname"
_INLINE = 60  # characters of content that stand in the line itself
_WIDTH = 96  # characters of base64 in a line
_SIMPLE = re.compile(r"[\w.-]+")


class NotExpressibleError(Exception):
    """The text form cannot express this op; it is printed as raw bytes."""


def render(graph: Graph) -> str:
    """Return a graph as text, inputs before users; `llbkit.llb.text.read` makes the same graph of it."""
    return _Printer(graph).text()


class Inputs:
    """The inputs of one vertex, and which of them were named so far, in order."""

    def __init__(self, edges: Sequence[Edge], names: Mapping[str, str]) -> None:
        self._keys = [(edge.vertex.digest, edge.index) for edge in edges]
        self._words = [_edge(edge, names) for edge in edges]
        self._first: dict[tuple[str, int], int] = {}
        for number, key in enumerate(self._keys):
            self._first.setdefault(key, number)
        self._named: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, number: int) -> str:
        """Return the word for input ``number``; -1 is scratch. Raises `NotExpressibleError`."""
        if number == -1:
            return "scratch"
        if not 0 <= number < len(self._keys):
            raise NotExpressibleError
        self._named.setdefault(number)
        if self._first[self._keys[number]] != number:
            return f"input {number}"
        return self._words[number]

    def line(self) -> str | None:
        """Return the line that lists all inputs, if their order does not follow from where they are named."""
        if list(self._named) == list(range(len(self._keys))) and len(set(self._keys)) == len(self._keys):
            return None
        return " ".join(["inputs", *self._words])


class _Printer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = vertex_names(graph)
        self._texts = text_names(graph)
        self._all_located = False

    def text(self) -> str:
        graph = self._graph
        places = graph.source_map.locations
        self._all_located = bool(places) and all(vertex.digest in places for vertex in graph.vertices)
        blocks = [self._vertex(vertex) for vertex in graph.vertices]
        head = "head " + (_edge(graph.head, self._names) if graph.head is not None else "scratch")
        blocks.append([head, *_side(graph.terminal)])
        blocks += [
            self._info(label, info) for label, info in zip(self._texts, graph.source_map.infos, strict=True)
        ]
        known = {vertex.digest for vertex in graph.vertices}
        if self._all_located and not all(places[vertex.digest] for vertex in graph.vertices):
            blocks.append(["located"])
        for digest in places:
            if digest not in known:
                blocks.append([f"elsewhere {word(digest)}", *self._places(digest)])
        if graph.unknown:
            blocks.append([f"unknown {base64_word(graph.unknown)}"])
        return "\n\n".join("\n  ".join(block) for block in blocks) + "\n"

    def _vertex(self, vertex: Vertex) -> list[str]:
        metadata = self._graph.metadata.get(vertex.digest)
        side = [] if metadata is None else _side(metadata) or ["metadata"]
        name, rest = (side[:1], side[1:]) if side and side[0].startswith("name ") else ([], side)
        head, *body = self._expressed(vertex) or self._raw(vertex)
        return [
            f"%{self._names[vertex.digest]} = {head}",
            *name,
            *body,
            *rest,
            *self._places(vertex.digest),
        ]

    def _expressed(self, vertex: Vertex) -> list[str] | None:
        """Return an op in words, its head first; None if they would not give the same bytes."""
        from llbkit.llb.wire.encoding import encode_op

        keys = [(edge.vertex.digest, edge.index) for edge in vertex.inputs]
        common = _platform(vertex.platform) if vertex.platform is not None else []
        common += [f"require {word(item)}" for item in vertex.constraints]
        if encode_op(vertex.op, keys, vertex.platform, vertex.constraints) != vertex.raw:
            if vertex.constraints or encode_op(vertex.op, keys, vertex.platform, None) != vertex.raw:
                return None
            common.append("unconstrained")
        inputs = Inputs(vertex.inputs, self._names)
        try:
            head, *body = _op(vertex.op, inputs)
        except NotExpressibleError:
            return None
        listed = inputs.line()
        return [head, *([listed] if listed else []), *common, *body]

    def _raw(self, vertex: Vertex) -> list[str]:
        about = name_of(vertex, Metadata()).partition("\n")[0]
        head = f"raw  # {about}" if about.isprintable() else "raw"
        words = [_edge(edge, self._names) for edge in vertex.inputs]
        return [head, *([" ".join(["inputs", *words])] if words else []), *_base64(vertex.raw)]

    def _places(self, digest: str) -> list[str]:
        found = self._graph.source_map.locations.get(digest)
        if found is None:
            return []
        lines = [" ".join([f"at @{self._texts[place.info]}", *_ranges(place)]) for place in found]
        return lines if lines or self._all_located else ["at nowhere"]

    def _info(self, label: str, info: SourceInfo) -> list[str]:
        language = [f"language={word(info.source.language)}"] if info.source.language else []
        lines = [" ".join([f"@{label} = text {word(info.source.name)}", *language])]
        if info.definition is not None:
            lines += ["definition", *(f"  {line}" for line in _base64(info.definition))]
        if info.unknown:
            lines.append(f"unknown {base64_word(info.unknown)}")
        return lines + _content(info.source.data)


def _edge(edge: Edge, names: Mapping[str, str]) -> str:
    suffix = f".{edge.index}" if edge.index else ""
    return f"%{names[edge.vertex.digest]}{suffix}"


def _ranges(place: Location) -> list[str]:
    if place.columns:
        return [f"{first}:{left}-{last}:{right}" for first, left, last, right in place.ranges]
    return [str(first) if first == last else f"{first}-{last}" for first, last in place.lines]


def _platform(platform: ops.Platform) -> list[str]:
    parts = [platform.os, platform.architecture, *([platform.variant] if platform.variant else [])]
    if all(_SIMPLE.fullmatch(part) for part in parts):
        rest = field_words(platform, "os", "architecture", "variant")
        return [" ".join(["platform", word("/".join(parts)), *rest])]
    return [" ".join(["platform", '""', *field_words(platform)])]


def _side(metadata: Metadata) -> list[str]:
    """Return the lines of what is known about a vertex besides its op, its name first."""
    lines = [f"name {quoted(metadata.description[NAME])}"] if NAME in metadata.description else []
    lines += [
        f"describe {word(key)} {word(metadata.description[key])}"
        for key in sorted(metadata.description)
        if key != NAME
    ]
    if metadata.caps:
        lines.append(" ".join(["caps", *map(word, metadata.caps)]))
    if metadata.ignore_cache:
        lines.append("ignore-cache")
    if metadata.export_cache is not None:
        lines.append(f"export-cache {'yes' if metadata.export_cache else 'no'}")
    if (group := metadata.progress_group) is not None:
        lines.append(" ".join(["group", word(group.id), *field_words(group, "id")]))
    if metadata.linux_resources is not None:
        lines.append(" ".join(["limits", *field_words(metadata.linux_resources)]))
    if metadata.unknown:
        lines.append(f"unknown {base64_word(metadata.unknown)}")
    return lines


def _op(op: ops.Op, inputs: Inputs) -> list[str]:
    match op:
        case ops.Source():
            return [f"source {word(op.identifier)}", *_attrs(op.attrs)]
        case ops.Exec():
            return [" ".join(["exec", *map(word, op.meta.args)]), *_exec(op, inputs)]
        case ops.File():
            return ["file", *_file(op, inputs)]
        case ops.Merge():
            return [" ".join(["merge", *map(inputs.of, op.inputs)])]
        case ops.Diff():
            return [f"diff from {inputs.of(op.lower)} to {inputs.of(op.upper)}"]
        case ops.Build():
            return ["build", *_build(op, inputs)]
        case ops.Passthrough():
            words = ["passthrough", word(op.id), *map(inputs.of, op.outputs)]
            rest = [n for n in range(len(inputs)) if n not in op.outputs]
            return [" ".join([*words, *(["after", *map(inputs.of, rest)] if rest else [])])]
        case _:
            assert_never(op)


def _attrs(attrs: Mapping[str, str]) -> Iterator[str]:
    return (f"attr {word(key)} {word(attrs[key])}" for key in sorted(attrs))


def _build(op: ops.Build, inputs: Inputs) -> Iterator[str]:
    if op.builder != -1:
        yield f"builder {inputs.of(op.builder)}"
    yield from (f"input {word(name)} {inputs.of(op.inputs[name])}" for name in sorted(op.inputs))
    yield from _attrs(op.attrs)
    if op.definition is not None:
        yield "definition"
        yield from (f"  {line}" for line in _base64(op.definition))


def _exec(op: ops.Exec, inputs: Inputs) -> Iterator[str]:
    meta = op.meta
    if meta.cwd != "/":
        yield f"cwd {word(meta.cwd)}"
    if meta.user:
        yield f"user {word(meta.user)}"
    yield from (f"env {word(item)}" for item in meta.env)
    yield from (f"host {word(entry.host)} {word(entry.ip)}" for entry in meta.extra_hosts)
    yield from (f"ulimit {word(item.name)} {item.soft} {item.hard}" for item in meta.ulimit)
    more = field_words(meta, "args", "cwd", "user", "env", "extra_hosts", "ulimit")
    more += field_words(op, "meta", "mounts", "secret_env", "cdi_devices")
    yield from (f"with {item}" for item in more)
    yield from (_mount(mount, inputs) for mount in op.mounts)
    for secret in op.secret_env:
        yield " ".join(["secret-env", word(secret.name), *field_words(secret, "name")])
    for device in op.cdi_devices:
        yield " ".join(["device", word(device.name), *field_words(device, "name")])


def output_of_none(kind: ops.MountType) -> int:
    """Return the output of mounts that have none: secrets and agents are written with 0 all the same."""
    return 0 if kind in (ops.MountType.SECRET, ops.MountType.SSH) else -1


def _mount(mount: ops.Mount, inputs: Inputs) -> str:
    kind = mount.mount_type
    option = kind.name.lower()
    words = ["mount", word(mount.dest)]
    if kind is not ops.MountType.BIND:
        words.append(option)
    if kind is ops.MountType.BIND or mount.input != -1:
        words += ["from", inputs.of(mount.input)]
    if kind is not ops.MountType.BIND and (given := getattr(mount, option)) is not None:
        words += field_words(given) or (["size=0"] if kind is ops.MountType.TMPFS else [])
    words += field_words(mount, "dest", "input", "output", "mount_type", option)
    if mount.output != output_of_none(kind):
        words.append(f"-> {mount.output}")
    return " ".join(words)


def _file(op: ops.File, inputs: Inputs) -> Iterator[str]:
    count, last = len(inputs), len(op.actions) - 1

    def place(number: int) -> str:
        return f"action {number - count}" if number >= count else inputs.of(number)

    for number, item in enumerate(op.actions):
        before = count + number - 1 if number else -1
        if max(item.input, item.secondary_input) >= count + number:
            raise NotExpressibleError
        on = [] if item.input == before else ["on", place(item.input)]
        match item.action:
            case ops.Copy():
                head = ["copy", "from", place(item.secondary_input)]
                head += [word(item.action.src), "to", word(item.action.dest)]
                beside = []
            case _:
                head = _action(item.action)
                beside = [] if item.secondary_input == -1 else ["beside", place(item.secondary_input)]
        output = [] if item.output == (0 if number == last else -1) else [f"-> {item.output}"]
        yield " ".join([*head, *on, *_options(item.action), *_owner(item.action, inputs), *beside, *output])
        if isinstance(item.action, ops.MkFile) and not _short(item.action.data):
            yield from (f"  {line}" for line in _content(item.action.data))


def _action(action: ops.MkFile | ops.MkDir | ops.Rm | ops.Symlink) -> list[str]:
    match action:
        case ops.Symlink():
            return ["symlink", word(action.newpath), "to", word(action.oldpath)]
        case _:
            return [type(action).__name__.lower(), word(action.path)]


def _options(action: ops.Action) -> list[str]:
    match action:
        case ops.Copy():
            but = {MODE: 0} if action.mode_str else None
            return field_words(action, "src", "dest", "owner", but=but)
        case ops.MkFile():
            short = _short(action.data) and action.data
            inline = [f"text={quoted(action.data.decode())}"] if short else []
            return [*field_words(action, "path", "data", "owner"), *inline]
        case ops.Symlink():
            return field_words(action, "oldpath", "newpath", "owner")
        case ops.MkDir() | ops.Rm():
            return field_words(action, "path", "owner")
        case _:
            assert_never(action)


def _owner(action: ops.Action, inputs: Inputs) -> list[str]:
    owner = None if isinstance(action, ops.Rm) else action.owner
    if owner is None:
        return []
    words = _who("user", owner.user, inputs) + _who("group", owner.group, inputs)
    return words or ["owner", "none"]


def _who(role: str, user: ops.UserOpt | None, inputs: Inputs) -> list[str]:
    match user:
        case None:
            return []
        case int():
            return [role, str(user)]
        case _:
            return [role, quoted(user.name), "in", inputs.of(user.input)]


def _short(data: bytes) -> bool:
    if len(data) > _INLINE:
        return False
    try:
        said = data.decode()
    except UnicodeDecodeError:
        return False
    return said.removesuffix("\n").isprintable()


def _content(data: bytes) -> list[str]:
    """Return the lines of any bytes; readable ones as they are."""
    try:
        said = data.decode()
    except UnicodeDecodeError:
        return _base64(data)
    lines = said.split("\n")
    if not all(line.replace("\t", "").isprintable() for line in lines):
        return _base64(data)
    last = lines.pop()
    return [*(f"| {line}" if line else "|" for line in lines), *([f"~ {last}"] if last else [])]


def _base64(data: bytes) -> list[str]:
    said = base64.b64encode(data).decode()
    return [f"base64 {said[start : start + _WIDTH]}" for start in range(0, len(said), _WIDTH)]
