# SPDX-License-Identifier: Apache-2.0
"""The fields of a vertex under user-facing names, and the differences between two vertices."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from llbkit.llb.ir import ops
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.fields import declared
from llbkit.llb.ir.graph import Vertex
from llbkit.llb.text.fields import field_words, heads_of, lines_of
from llbkit.records import dataclass

_LONGEST = 120
_IMAGE = re.compile(r"(?P<repository>.+?)(?::(?P<tag>[\w][\w.-]*))?(?:@(?P<digest>[a-z0-9]+:[0-9a-f]+))?")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field, and what it was and is; None where it is not there."""

    field: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.field}: added {_shown(self.after or '')}"
        if self.after is None:
            return f"{self.field}: removed {_shown(self.before)}"
        before, after = _around(self.before, self.after)
        return f"{self.field}: {before} → {after}"

    def as_json(self) -> dict[str, str | None]:
        """Return the change as plain values."""
        return {"field": self.field, "before": self.before, "after": self.after}


Place: TypeAlias = Callable[[int], str]
"""Returns the name of an input by its number."""


def field_changes(one: Vertex, other: Vertex, places: tuple[Place, Place]) -> list[FieldChange]:
    """Return the fields in which two vertices differ; ``places`` name the inputs of each."""
    before, after = words_of(one, places[0]), words_of(other, places[1])
    return [
        FieldChange(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def words_of(vertex: Vertex, named: Place) -> dict[str, str]:
    """Return every field of a vertex that is not the usual, as text; ``named`` gives its inputs names."""
    out: dict[str, str] = {}
    count = len(vertex.inputs)

    def place(number: int) -> str:
        return "scratch" if number < 0 else named(number) if number < count else f"action {number - count}"

    match vertex.op:
        case ops.Source() as op:
            out |= _source(op, place)
        case ops.Exec() as op:
            out |= _exec(op, place)
        case ops.File() as op:
            out |= _with(op)
            for number, item in enumerate(op.actions):
                out |= _action(item, f"action {number} " if len(op.actions) > 1 else "", place)
        case op:
            out |= _fields(op, place)
    if vertex.platform is not None:
        rest = field_words(vertex.platform)
        out["platform"] = " ".join([platforms.format(vertex.platform), *rest])
    out |= {f"require {number}": text for number, text in enumerate(vertex.constraints)}
    return out


def _source(op: ops.Source, place: Place) -> dict[str, str]:
    scheme, _, rest = op.identifier.partition("://")
    out = {"source": op.identifier}
    if scheme == "docker-image" and (match := _IMAGE.fullmatch(rest)):
        out = {"image": match["repository"]}
        out |= {key: match[key] for key in ("tag", "digest") if match[key]}
    return out | {key: value for key, value in _fields(op, place).items() if key != "identifier"}


def _exec(op: ops.Exec, place: Place) -> dict[str, str]:
    meta = op.meta
    args = meta.args
    shell = len(args) == 3 and args[0].endswith("sh") and args[1] == "-c"
    out = {"shell": " ".join(args[:2]), "args": args[2]} if shell else {"args": " ".join(args)}
    return out | _fields(meta, place, op) | _lines(op, place)


def _fields(value: Any, place: Place, *also: Any) -> dict[str, str]:
    """Return the fields of a value, and the options of ``also`` others with its own."""
    out: dict[str, str] = {}
    for name, field in declared(type(value)).items():
        held = getattr(value, name)
        if field.line is not None or field.is_option:
            continue
        if field.number:
            out[field.word] = ", ".join(map(place, held)) if field.many else place(held)
        elif field.head is not None:
            out[field.word] = str(held)
    out |= _lines(value, place)
    return out | _with(value, *also)


def _with(*values: Any) -> dict[str, str]:
    """Return the options of values."""
    out: dict[str, str] = {}
    for item in [word for value in values for word in field_words(value)]:
        key, _, text = item.partition("=")
        out[key] = f"{out[key]} {text}" if key in out else text or "yes"
    return out


def _lines(value: Any, place: Place) -> dict[str, str]:
    """Return what has lines of its own in the text form, under the keyword and what tells one line from the others."""
    out: dict[str, str] = {}
    for keyword, field in lines_of(type(value)):
        held = getattr(value, field.name)
        if field.mapping:
            out |= {f"{keyword} {key}": place(one) if field.number else one for key, one in held.items()}
        elif field.number:
            out[keyword] = place(held)
        elif held == field.usual:
            continue
        elif field.many:
            out |= {f"{keyword} {key}": text for key, text in (_one(item, place) for item in held)}
        else:
            out[keyword] = held if isinstance(held, str) else _bytes(held)
    return out


def _one(item: Any, place: Place) -> tuple[str, str]:
    """Return what tells one of many values from the others, and the rest of it."""
    match item:
        case str():
            key, _, text = item.partition("=")
            return key, text
        case ops.Mount():
            return item.dest, _mount(item, place)
        case _:
            key, *heads = (str(getattr(item, field.name)) for field in heads_of(type(item)))
            return key, " ".join([*([":".join(heads)] if heads else []), *field_words(item)]) or "yes"


def _mount(mount: ops.Mount, place: Place) -> str:
    kind = mount.mount_type.name.lower()
    words = [kind, *([place(mount.input)] if mount.input >= 0 else [])]
    given = getattr(mount, kind, None)
    words += field_words(given) if given is not None else []
    return " ".join([*words, *field_words(mount, "output", without=kind)])


def _action(item: ops.FileAction, prefix: str, place: Place) -> dict[str, str]:
    action = item.action
    out = {f"{prefix}kind": type(action).__name__.lower()}
    for field in declared(type(action)).values():
        value: Any = getattr(action, field.name)
        if field.name == "data":
            out[f"{prefix}data"] = _data(value)
        elif field.name == "owner":
            if value is not None:
                out[f"{prefix}owner"] = f"{_who(value.user, place)}:{_who(value.group, place)}"
        elif isinstance(value, str):
            if value:
                out[f"{prefix}{field.name}"] = value
        elif words := field_words(action, only=field.name):
            out[f"{prefix}{field.name}"] = " ".join(word.partition("=")[2] or "yes" for word in words)
    out[f"{prefix}on"] = place(item.input)
    if item.secondary_input != -1:
        out[f"{prefix}from"] = place(item.secondary_input)
    out[f"{prefix}output"] = str(item.output)
    return out | {f"{prefix}{key}": text for key, text in _with(item).items()}


def _who(user: ops.UserOpt | None, place: Place) -> str:
    match user:
        case None:
            return ""
        case int():
            return str(user)
        case _:
            return f"{user.name!r} of {place(user.input)}"


def _data(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _bytes(data)


def _bytes(data: bytes) -> str:
    return f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()[:12]}"


def _around(before: str, after: str) -> tuple[str, str]:
    """Return two texts for one line: of long ones, what is around their first difference."""
    if max(len(before), len(after)) <= _LONGEST:
        return _shown(before), _shown(after)
    place = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    start = max(0, place - _LONGEST // 3)
    return _shown(before, start), _shown(after, start)


def _shown(text: str, start: int = 0) -> str:
    part = text[start : start + _LONGEST]
    part = "".join(
        c if c.isprintable() else {"\n": "⏎", "\t": " "}.get(c, "\N{REPLACEMENT CHARACTER}") for c in part
    )
    head, tail = "…" if start else "", "…" if start + _LONGEST < len(text) else ""
    return f"`{head}{part}{tail}`"
