# SPDX-License-Identifier: Apache-2.0
"""The fields of ops as words, and back: ``name=value`` for every value that is not the default.

What is usual is the field's default, or what its declaration says: what the builder writes unless told otherwise.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from enum import IntEnum
from operator import itemgetter
from typing import Any, TypeVar

from llbkit.llb.ir.fields import Declared, declared

T = TypeVar("T")

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


def options_of(kind: type[Any]) -> Mapping[str, Declared]:
    """Return the fields of an op class that are options, by name, in their order."""
    return {name: field for name, field in declared(kind).items() if field.is_option}


def heads_of(kind: type[Any]) -> Sequence[Declared]:
    """Return the fields of an op class that are words at the head of its line, in the order of the words."""
    heads = [(field.head.place, field) for field in declared(kind).values() if field.head is not None]
    return [field for _, field in sorted(heads, key=itemgetter(0))]


def lines_of(kind: type[Any]) -> Sequence[tuple[str, Declared]]:
    """Return the fields of an op class that have lines of their own, with their keywords, in the order of the lines.

    Single values stand before lists and maps, and before embedded messages.
    """
    found = [(field.line.keyword, field) for field in declared(kind).values() if field.line is not None]
    return sorted(found, key=lambda item: (_is_embedded(item[1]), item[1].many or item[1].mapping))


def _is_embedded(field: Declared) -> bool:
    return field.wire is not None and bool(field.wire.embeds)


def head_words(value: Any) -> list[str]:
    """Return the words at the head of a value's line."""
    return [word(str(getattr(value, field.name))) for field in heads_of(type(value))]


def field_words(
    value: Any, *also: str, without: str = "", only: str = "", but: Mapping[str, object] | None = None
) -> list[str]:
    """Return words for the options, and ``also`` other fields, that have not their usual value, or that of ``but``.

    ``without`` is an option that is said elsewhere, ``only`` the only option that is asked for.
    """
    words = []
    for name, field in declared(type(value)).items():
        if (field.is_option and name != without and only in ("", name)) or name in also:
            found = getattr(value, name)
            if found != (but[name] if but and name in but else field.usual):
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
    given: dict[str, Any] = {**{name: field.usual for name, field in declared(kind).items()}, **values}
    lacking = [name for name, value in given.items() if value is MISSING]
    if lacking:
        raise ValueFault(f"missing {lacking[0]}=", help=f"add {lacking[0]}=VALUE")
    value: T = kind(**given)
    return value


__all__ = [
    "ValueFault",
    "base64_bytes",
    "base64_word",
    "field_words",
    "head_words",
    "heads_of",
    "lines_of",
    "made",
    "options_of",
    "parse_value",
    "quoted",
    "unquote",
    "word",
]
