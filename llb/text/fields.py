# SPDX-License-Identifier: Apache-2.0
"""The fields of ops as words, and back: ``name=value`` for every value that is not the default.

What is usual is the field's default, but for `USUAL`: there it is what the builder writes unless told otherwise.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from llbkit.llb.ir import ops
from llbkit.records import dataclass

T = TypeVar("T")

USUAL: Mapping[type, Mapping[str, object]] = {
    ops.Meta: {"cwd": "/", "remove_mount_stubs_recursive": True},
    ops.Copy: {"mode": -1, "timestamp": -1},
    ops.MkFile: {"mode": 0o644, "timestamp": -1},
    ops.MkDir: {"mode": 0o755, "timestamp": -1},
    ops.Symlink: {"timestamp": -1},
    ops.SecretOpt: {"mode": 0o400},
    ops.SSHOpt: {"mode": 0o600},
}
MODE = "mode"
_BARE = re.compile(r"[\w./:=+,-][\w./:=@+,~%-]*")


class ValueFault(Exception):  # noqa: N818 - it becomes a diagnostic, where the place is known
    """Invalid value of a field; the message says why."""

    def __init__(self, message: str, *, help: str = "") -> None:  # noqa: A002
        super().__init__(message)
        self.help = help


def word(text: str) -> str:
    """Return a text as one word, in quotes if it needs them."""
    if _BARE.fullmatch(text):
        return text
    return quoted(text)


def quoted(text: str) -> str:
    """Return a text as one word in quotes. Only what cannot be seen is escaped."""
    said = json.dumps(text, ensure_ascii=False)
    if said.isprintable():
        return said
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in said)


def unquote(text: str) -> str:
    """Return the string a word stands for. Raises `ValueFault`."""
    if not text.startswith('"'):
        return text
    value = json.loads(text)
    assert isinstance(value, str)
    if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueFault("unpaired surrogate")
    return value


def base64_word(data: bytes) -> str:
    """Return bytes as one word."""
    return word(base64.b64encode(data).decode())


def base64_bytes(text: str) -> bytes:
    """Return the bytes of a word. Raises `ValueFault`."""
    try:
        return base64.b64decode(unquote(text), validate=True)
    except ValueError:
        raise ValueFault("invalid base64") from None


def usual(kind: type[Any]) -> Mapping[str, object]:
    """Return the usual value of each field of an op class; `MISSING` if there is none."""
    return {name: shape.usual for name, shape in shapes(kind).items()}


@dataclass(frozen=True, slots=True)
class Shape:
    """A field: what it holds, once or many times, and its usual value."""

    kind: type[Any]
    many: bool
    usual: object


def shapes(kind: type[Any]) -> Mapping[str, Shape]:
    """Return the fields of an op class by name, in their order."""
    found = _SHAPES.get(kind)
    if found is None:
        found = _SHAPES[kind] = _shapes(kind)
    return found


_SHAPES: dict[type[Any], Mapping[str, Shape]] = {}


def _shapes(kind: type[Any]) -> Mapping[str, Shape]:
    hints = get_type_hints(kind)
    out = {}
    for item in fields(kind):
        hint = hints[item.name]
        many = get_origin(hint) is tuple
        if many:
            hint = get_args(hint)[0]
        if get_origin(hint) in (Union, UnionType):
            hint = next((one for one in get_args(hint) if one is not NoneType), hint)
        default: object = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        default = USUAL.get(kind, {}).get(item.name, default)
        out[item.name] = Shape(hint if isinstance(hint, type) else object, many, default)
    return out


def field_words(value: Any, *said: str, but: Mapping[str, object] | None = None) -> list[str]:
    """Return words for the fields that are neither ``said`` elsewhere nor have their usual value, or that of ``but``."""
    words = []
    for name, shape in shapes(type(value)).items():
        found = getattr(value, name)
        if name not in said and found != (but[name] if but and name in but else shape.usual):
            words += _value_words(name, found)
    return words


def _value_words(name: str, value: Any) -> list[str]:
    match value:
        case bool():
            return [name if value else f"{name}=no"]
        case IntEnum():
            return [f"{name}={value.name.lower()}"]
        case int():
            return [f"{name}={oct(value) if name == MODE and value >= 0 else value}"]
        case str():
            return [f"{name}={word(value)}"]
        case bytes():
            return [f"{name}={base64_word(value)}"]
        case tuple():
            return [one for item in value for one in _value_words(name, item)]
        case _ if is_dataclass(value):
            return [f"{name}({' '.join(field_words(value))})"]
        case _:
            raise TypeError(f"{name}: cannot print a {type(value).__name__}")


def parse_value(kind: type[Any], text: str) -> Any:
    """Return the value of a word for a field that of type ``kind``. Raises `ValueFault`."""
    said = unquote(text)
    if kind is bool:
        if said not in ("yes", "no"):
            raise ValueFault(f"expected yes or no, not {said!r}")
        return said == "yes"
    if issubclass(kind, IntEnum):
        names = {member.name.lower(): member for member in kind}
        if said not in names:
            raise ValueFault(f"invalid value {said!r}, expected one of {', '.join(names)}")
        return names[said]
    if kind is int:
        try:
            return int(said, 0)
        except ValueError:
            raise ValueFault(f"invalid number {said!r}") from None
    return base64_bytes(text) if kind is bytes else said


def made(kind: Callable[..., T], values: Mapping[str, object]) -> T:
    """Return an op class's value: with what is usual for the fields that are not given. Raises `ValueFault`."""
    assert isinstance(kind, type)
    given: dict[str, Any] = {**usual(kind), **values}
    lacking = [name for name, value in given.items() if value is MISSING]
    if lacking:
        raise ValueFault(f"missing {lacking[0]}=", help=f"add {lacking[0]}=VALUE")
    value: T = kind(**given)
    return value


__all__ = [
    "Shape",
    "ValueFault",
    "base64_bytes",
    "base64_word",
    "field_words",
    "made",
    "parse_value",
    "quoted",
    "shapes",
    "unquote",
    "usual",
    "word",
]
