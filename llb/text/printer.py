# SPDX-License-Identifier: Apache-2.0
"""Graphs to text: see `llbkit.llb.text`. Linear in the size of the graph."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from llbkit.llb.ir import ops
from llbkit.llb.ir.fields import Declared
from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo
from llbkit.llb.text.fields import (
    MODE,
    base64_word,
    field_words,
    head_words,
    heads_of,
    lines_of,
    quoted,
    word,
)
from llbkit.llb.text.mounts import mount_words
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


class NamedInputs:
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
        inputs = NamedInputs(vertex.inputs, self._names)
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
    heads = [field.name for field in heads_of(ops.Platform)]
    parts = [platform.os, platform.architecture, *([platform.variant] if platform.variant else [])]
    if all(_SIMPLE.fullmatch(part) for part in parts):
        rest = field_words(platform)
        return [" ".join(["platform", word("/".join(parts)), *rest])]
    return [" ".join(["platform", '""', *field_words(platform, *heads)])]


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
        lines.append(" ".join(["group", *head_words(group), *field_words(group)]))
    if metadata.linux_resources is not None:
        lines.append(" ".join(["limits", *field_words(metadata.linux_resources)]))
    if metadata.unknown:
        lines.append(f"unknown {base64_word(metadata.unknown)}")
    return lines


def _op(op: ops.Op, inputs: NamedInputs) -> list[str]:
    match op:
        case ops.Source():
            return [" ".join(["source", *head_words(op)]), *_body(op, inputs)]
        case ops.Exec():
            head = " ".join(["exec", *map(word, op.meta.args)])
            return [head, *_lines(op.meta, inputs), *_with(op.meta), *_body(op, inputs)]
        case ops.File():
            return ["file", *_body(op, inputs), *_file(op, inputs)]
        case ops.Merge():
            return [" ".join(["merge", *map(inputs.of, op.inputs)]), *_body(op, inputs)]
        case ops.Diff():
            return [f"diff from {inputs.of(op.lower)} to {inputs.of(op.upper)}", *_body(op, inputs)]
        case ops.Build():
            return ["build", *_body(op, inputs)]
        case ops.Passthrough():
            words = ["passthrough", *head_words(op), *map(inputs.of, op.outputs)]
            rest = [n for n in range(len(inputs)) if n not in op.outputs]
            head = " ".join([*words, *(["after", *map(inputs.of, rest)] if rest else [])])
            return [head, *_body(op, inputs)]
        case _:
            assert_never(op)


def _body(op: ops.Op, inputs: NamedInputs) -> Iterator[str]:
    yield from _with(op)
    yield from _lines(op, inputs)


def _with(value: Any) -> Iterator[str]:
    return (f"with {item}" for item in field_words(value))


def _lines(value: Any, inputs: NamedInputs) -> Iterator[str]:
    """Yield the lines of the fields that have lines of their own and not their usual value."""
    for keyword, field in lines_of(type(value)):
        held = getattr(value, field.name)
        if held == field.usual:
            continue
        if field.wire is not None and field.wire.embeds:
            yield keyword
            yield from (f"  {line}" for line in _base64(held))
        elif field.many:
            yield from (" ".join([keyword, *_said(field, one, inputs)]) for one in held)
        elif field.mapping:
            yield from (
                " ".join([keyword, word(key), *_said(field, held[key], inputs)]) for key in sorted(held)
            )
        else:
            yield " ".join([keyword, *_said(field, held, inputs)])


def _said(field: Declared, value: Any, inputs: NamedInputs) -> list[str]:
    """Return the words of one value behind the keyword."""
    if field.number:
        return [inputs.of(value)]
    match value:
        case str():
            return [word(value)]
        case ops.Mount():
            return mount_words(value, inputs.of)
        case _:
            return [*head_words(value), *field_words(value)]


def _file(op: ops.File, inputs: NamedInputs) -> Iterator[str]:
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
                head += [*_heads(item.action)]
                beside = []
            case _:
                head = [type(item.action).__name__.lower(), *_heads(item.action)]
                beside = [] if item.secondary_input == -1 else ["beside", place(item.secondary_input)]
        output = [] if item.output == (0 if number == last else -1) else [f"-> {item.output}"]
        yield " ".join([*head, *on, *_options(item), *_owner(item.action, inputs), *beside, *output])
        if isinstance(item.action, ops.MkFile) and not _short(item.action.data):
            yield from (f"  {line}" for line in _content(item.action.data))


def _heads(action: ops.Action) -> list[str]:
    """Return the words at the head of an action's line, two of them with ``to`` in between."""
    first, *rest = head_words(action)
    return [first, *(word for one in rest for word in ("to", one))]


def _options(item: ops.FileAction) -> list[str]:
    words = field_words(item.action, but=_BY_LETTERS if getattr(item.action, "mode_str", "") else None)
    if isinstance(item.action, ops.MkFile) and item.action.data and _short(item.action.data):
        words.append(f"text={quoted(item.action.data.decode())}")
    return words + field_words(item)


_BY_LETTERS = {MODE: 0}  # a mode in letters wins: the number is usually not given then


def _owner(action: ops.Action, inputs: NamedInputs) -> list[str]:
    owner = None if isinstance(action, ops.Rm) else action.owner
    if owner is None:
        return []
    words = _who("user", owner.user, inputs) + _who("group", owner.group, inputs)
    return words or ["owner", "none"]


def _who(role: str, user: ops.UserOpt | None, inputs: NamedInputs) -> list[str]:
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
