# SPDX-License-Identifier: Apache-2.0
"""The fields of a vertex under user-facing names, and the differences between two vertices."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias, assert_never

from llbkit.llb.ir import ops
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import Vertex
from llbkit.llb.text.fields import field_words
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
            out |= _source(op)
        case ops.Exec() as op:
            out |= _exec(op, place)
        case ops.File() as op:
            for number, item in enumerate(op.actions):
                out |= _action(item, f"action {number} " if len(op.actions) > 1 else "", place)
        case ops.Merge() as op:
            out["layers"] = ", ".join(map(place, op.inputs))
        case ops.Diff() as op:
            out |= {"lower": place(op.lower), "upper": place(op.upper)}
        case ops.Build() as op:
            out["builder"] = place(op.builder)
            out |= {f"input {name}": place(number) for name, number in op.inputs.items()}
            out |= {f"attr {name}": value for name, value in op.attrs.items()}
            if op.definition is not None:
                out["definition"] = _bytes(op.definition)
        case ops.Passthrough() as op:
            out |= {"id": op.id, "outputs": ", ".join(map(place, op.outputs))}
        case _:
            assert_never(vertex.op)
    if vertex.platform is not None:
        rest = field_words(vertex.platform, "os", "architecture", "variant")
        out["platform"] = " ".join([platforms.format(vertex.platform), *rest])
    out |= {f"require {number}": text for number, text in enumerate(vertex.constraints)}
    return out


def _source(op: ops.Source) -> dict[str, str]:
    scheme, _, rest = op.identifier.partition("://")
    out = {"source": op.identifier}
    if scheme == "docker-image" and (match := _IMAGE.fullmatch(rest)):
        out = {"image": match["repository"]}
        out |= {key: match[key] for key in ("tag", "digest") if match[key]}
    return out | {f"attr {key}": value for key, value in op.attrs.items()}


def _exec(op: ops.Exec, place: Place) -> dict[str, str]:
    meta = op.meta
    args = meta.args
    shell = len(args) == 3 and args[0].endswith("sh") and args[1] == "-c"
    out = {"shell": " ".join(args[:2]), "args": args[2]} if shell else {"args": " ".join(args)}
    if meta.cwd != "/":
        out["cwd"] = meta.cwd
    if meta.user:
        out["user"] = meta.user
    for item in meta.env:
        key, _, value = item.partition("=")
        out[f"env {key}"] = value
    out |= {f"host {entry.host}": entry.ip for entry in meta.extra_hosts}
    out |= {f"ulimit {item.name}": f"{item.soft}:{item.hard}" for item in meta.ulimit}
    more = field_words(meta, "args", "cwd", "user", "env", "extra_hosts", "ulimit")
    more += field_words(op, "meta", "mounts", "secret_env", "cdi_devices")
    for item in more:
        key, _, value = item.partition("=")
        out[key] = f"{out[key]} {value}" if key in out else value or "yes"
    for mount in op.mounts:
        kind = mount.mount_type.name.lower()
        words = [kind, *([place(mount.input)] if mount.input >= 0 else [])]
        given = getattr(mount, kind, None)
        words += field_words(given) if given is not None else []
        words += field_words(mount, "dest", "input", "mount_type", kind)
        out[f"mount {mount.dest}"] = " ".join(words)
    out |= {f"secret-env {item.name}": " ".join(field_words(item, "name")) for item in op.secret_env}
    out |= {f"device {item.name}": " ".join(field_words(item, "name")) or "yes" for item in op.cdi_devices}
    return out


def _action(item: ops.FileAction, prefix: str, place: Place) -> dict[str, str]:
    action = item.action
    out = {f"{prefix}kind": type(action).__name__.lower()}
    for field in fields(action):
        value: Any = getattr(action, field.name)
        if field.name == "data":
            out[f"{prefix}data"] = _data(value)
        elif field.name == "owner":
            if value is not None:
                out[f"{prefix}owner"] = f"{_who(value.user, place)}:{_who(value.group, place)}"
        elif isinstance(value, str):
            if value:
                out[f"{prefix}{field.name}"] = value
        elif words := field_words(
            action, *(other.name for other in fields(action) if other.name != field.name)
        ):
            out[f"{prefix}{field.name}"] = " ".join(word.partition("=")[2] or "yes" for word in words)
    out[f"{prefix}on"] = place(item.input)
    if item.secondary_input != -1:
        out[f"{prefix}from"] = place(item.secondary_input)
    out[f"{prefix}output"] = str(item.output)
    return out


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
