# SPDX-License-Identifier: Apache-2.0
"""Ops and parts of ops to wire messages and back, by what their fields declare.

For each class one function is made when it is first needed: it has the table of the class's fields at hand and looks at
nothing but values. What a field is on the wire, one of six forms, is decided in `_encoded` and `_decoded` and nowhere else:
a scalar, an enum, a message, a message that boxes the value, a ``oneof``, a map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from enum import IntEnum
from functools import wraps
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir.fields import Declared, declared, message_name, wire_name
from llbkit.llb.wire import messages
from llbkit.llb.wire.bytes import delimited, entry, string_map
from llbkit.llb.wire.scan import payloads

_Convert: TypeAlias = Callable[[Any], Any]
_T = TypeVar("_T")
_ALWAYS = object()  # equals no value: the field is written whatever it holds


class FieldFault(Exception):  # noqa: N818 - it becomes a DefinitionError, where the op is known
    """A field of a message makes no sense; ``path`` is where it stands, as the ``.proto`` file names it."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self._path = path
        self._text = text

    def below(self, path: str) -> FieldFault:
        """Return the fault, seen from outside the field ``path``."""
        return FieldFault(path + self._path, self._text)

    def error(self) -> DefinitionError:
        """Return the error of the whole message."""
        return DefinitionError(self._text.replace("{path}", self._path.lstrip(".")))


def _once(make: Callable[[type[Any]], _T]) -> Callable[[type[Any]], _T]:
    """Make what is made for a class only once."""
    known: dict[type[Any], _T] = {}

    @wraps(make)
    def made(kind: type[Any]) -> _T:
        if kind not in known:
            known[kind] = make(kind)
        return known[kind]

    return made


# ---- to the wire


def encoded(value: Any) -> bytes:
    """Return the bytes of an op or of a part of one.

    Raises:
        ValueError: a number is out of range, or a text is not UTF-8.
        TypeError: a value has another type than its field.
    """
    return _bytes_writer(type(value))(value)


def message_of(value: Any) -> Any:
    """Return the wire message of an op or of a part of one, of a class without maps. Raises as `encoded` does."""
    return _writer(type(value))(value)


@_once
def _writer(kind: type[Any]) -> Callable[[Any], Message]:
    """Return the function that makes the message of a class's value."""
    new = getattr(messages, message_name(kind))
    return _writer_of(tuple(field for field in declared(kind).values() if field.wire is not None), new)


def _writer_of(fields: Sequence[Declared], new: Callable[..., Message]) -> Callable[[Any], Message]:
    direct = [field for field in fields if not _is_union(field) and _encoded(field) is None]
    names = [(wire_name(field), _zero_to_leave(field)) for field in direct]
    get = _getter([field.name for field in direct])
    rows = [
        (field.name, wire_name(field), _zero_to_leave(field), convert)
        for field in fields
        if not _is_union(field) and (convert := _encoded(field)) is not None
    ]
    unions = [(field.name, _members(field)) for field in fields if _is_union(field)]

    def write(value: Any) -> Message:
        given = {name: found for (name, zero), found in zip(names, get(value), strict=True) if found != zero}
        for field, name, zero, convert in rows:
            found = getattr(value, field)
            if found is not zero:
                given[name] = convert(found)
        for union, members in unions:
            held = getattr(value, union)
            name, inner = members[type(held)]
            given[name] = held if inner is None else inner(held)
        return new(**given)

    return write


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        (name,) = names
        return lambda value: (getattr(value, name),)
    return attrgetter(*names) if names else lambda value: ()


def _is_union(field: Declared) -> bool:
    """Whether a field is one of several in the op's own message."""
    return field.wire is not None and field.wire.oneof is not None and not field.wire.box


def _members(field: Declared) -> Mapping[type, tuple[str, _Convert | None]]:
    """Return, for each type of value, the name of its field on the wire, and how it is written."""
    assert field.wire is not None
    assert field.wire.oneof is not None
    return {
        kind: (name, None if scalar else _writer(kind))
        for kind, (_, name, *scalar) in field.wire.oneof.members.items()
    }


def _zero_to_leave(field: Declared) -> object:
    """Return the value that the wire leaves out."""
    if field.many:
        return ()
    if field.optional:
        return None
    if field.wire is not None and not field.wire.box and field.kind in _ZEROS:
        return _ZEROS[field.kind]
    return field.kind(0) if issubclass(field.kind, IntEnum) else _ALWAYS


_ZEROS: Mapping[type, object] = {bool: False, bytes: b"", int: 0, str: ""}


def _encoded(field: Declared) -> _Convert | None:
    """Return how the value of a field is written; None as it is."""
    convert = _encoded_one(field)
    if convert is None or not field.many:
        return convert
    return lambda values: [convert(value) for value in values]


def _encoded_one(field: Declared) -> _Convert | None:
    wire = field.wire
    assert wire is not None
    if wire.box:
        box = getattr(messages, wire.box)
        if wire.oneof is None:
            return lambda number: box(input=number)
        members = _members(field)

        def boxed(value: Any) -> Any:
            name, convert = members[type(value)]
            return box(**{name: value if convert is None else convert(value)})

        return boxed
    if issubclass(field.kind, IntEnum) or field.kind in _ZEROS:
        return None
    return _writer(field.kind)


@_once
def _bytes_writer(kind: type[Any]) -> Callable[[Any], bytes]:
    """Return the function that writes a class's value.

    Protobuf's Python runtime orders the keys of maps differently from Go where one is a prefix of the other, and a message
    that is embedded as it came is none to protobuf. Messages with such fields are therefore put together from pieces:
    concatenating encoded messages merges them, so each run of other fields and each entry is written on its own.
    """
    pieces: list[Callable[[Any], bytes]] = []
    run: list[Declared] = []
    new = getattr(messages, message_name(kind))

    def finish() -> None:
        if run:
            write = _writer_of(tuple(run), new)
            pieces.append(lambda value: bytes(write(value).SerializeToString(deterministic=True)))
            run.clear()

    for field in sorted(declared(kind).values(), key=lambda one: one.wire.number if one.wire else 0):
        if field.wire is None:
            continue
        if field.mapping or field.wire.embeds:
            finish()
            pieces.append(_piece(field))
        else:
            run.append(field)
    finish()
    if len(pieces) == 1:
        return pieces[0]
    return lambda value: b"".join([piece(value) for piece in pieces])


def _piece(field: Declared) -> Callable[[Any], bytes]:
    wire = field.wire
    assert wire is not None
    number, name = wire.number, field.name
    if wire.embeds:

        def embedded(value: Any) -> bytes:
            held = getattr(value, name)
            return b"" if held is None else delimited(number, held)

        return embedded
    if field.kind is str:
        return lambda value: string_map(number, getattr(value, name))
    convert = _encoded_one(field)
    assert convert is not None, "maps hold strings or messages"

    def mapped(value: Any) -> bytes:
        held = getattr(value, name)
        return b"".join(
            [
                entry(number, key, convert(held[key]).SerializeToString(deterministic=True))
                for key in sorted(held)
            ]
        )

    return mapped


# ---- from the wire


def decoded(kind: type[Any], message: Any, raws: Callable[[], Sequence[bytes]] = list) -> Any:
    """Return the value of a class that a message holds; ``raws`` are the bytes it was read from, in one piece or several.

    Raises:
        FieldFault: a field makes no sense.
    """
    value = _reader(kind)(message)
    embedding = _embedding(kind)
    return value if not embedding else _with_embedded(value, message, embedding, raws())


@_once
def _embedding(kind: type[Any]) -> Sequence[Declared]:
    return tuple(field for field in declared(kind).values() if field.wire is not None and field.wire.embeds)


def _with_embedded(value: Any, message: Any, embedding: Sequence[Declared], raws: Sequence[bytes]) -> Any:
    """Return a value whose embedded messages have the bytes that they came in, if they came in one piece."""
    from dataclasses import replace

    found = {}
    for field in embedding:
        if message.HasField(wire_name(field)):
            assert field.wire is not None
            held = [one for raw in raws for one in payloads(raw, field.wire.number)]
            found[field.name] = as_it_came(getattr(message, wire_name(field)), held)
    return replace(value, **found) if found else value


def as_it_came(message: Message, held: Sequence[bytes]) -> bytes:
    """Return the bytes of a message inside another as they are in ``held``, where it stands once."""
    return held[0] if len(held) == 1 else bytes(message.SerializeToString(deterministic=True))


@_once
def _reader(kind: type[Any]) -> Callable[[Any], Any]:
    """Return the function that makes a class's value from its message."""
    fields = [field for field in declared(kind).values() if field.wire is not None and not field.wire.embeds]
    rows: dict[int, tuple[str, _Convert | None]] = {}
    for field in fields:
        rows |= _rows(field)
    zeros = {field.name: zero for field in fields if (zero := _zero(field)) is not MISSING}
    lacking = [(field.name, text) for field in fields if (text := _demand(field))]

    def read(message: Any) -> Any:
        given = zeros.copy()
        descriptor = None
        try:
            for descriptor, found in message.ListFields():
                row = rows.get(descriptor.number)
                if row is not None:
                    name, convert = row
                    given[name] = found if convert is None else convert(found)
        except FieldFault as fault:
            assert descriptor is not None
            raise fault.below(f".{descriptor.name}") from None
        for name, text in lacking:
            if name not in given:
                raise FieldFault("", text)
        return kind(**given)

    return read


def _rows(field: Declared) -> dict[int, tuple[str, _Convert | None]]:
    """Return, for each field of the message that a field may stand in, the field and how it is read."""
    assert field.wire is not None
    if field.wire.oneof is None or field.wire.box:
        return {field.wire.number: (field.name, _decoded(field))}
    return {
        number: (field.name, None if scalar else _reader(kind))
        for kind, (number, _, *scalar) in field.wire.oneof.members.items()
    }


def _demand(field: Declared) -> str:
    """Return what is wrong with a message without this field; nothing if it may lack it."""
    assert field.wire is not None
    if _is_union(field):
        assert field.wire.oneof is not None
        return f"{{path}}: unknown {field.wire.oneof.name}"
    if field.wire.box and not (field.many or field.mapping or field.optional):
        return f"missing {{path}}.{wire_name(field)}"
    return ""


def _zero(field: Declared) -> Any:
    """Return the value of a field that is not on the wire; MISSING if the class's default is that, or there is none."""
    if _demand(field):
        return MISSING
    if field.many:
        zero: Any = ()
    elif field.mapping:
        zero = {}
    elif field.optional:
        zero = None
    elif field.kind in _ZEROS:
        zero = _ZEROS[field.kind]
    elif issubclass(field.kind, IntEnum):
        zero = field.kind(0)
    else:
        zero = _reader(field.kind)(getattr(messages, message_name(field.kind))())
    return MISSING if zero == field.default else zero


def _decoded(field: Declared) -> _Convert | None:
    """Return how the value of a field is read; None as it is."""
    convert = _decoded_one(field)
    if field.mapping:
        if convert is None:
            return dict
        return lambda found: {key: convert(value) for key, value in found.items()}
    if not field.many:
        return convert
    if convert is None:
        return tuple

    def read(found: Sequence[Any]) -> tuple[Any, ...]:
        out: list[Any] = []
        try:
            for value in found:
                out.append(convert(value))  # noqa: PERF401 - the number of the broken one is needed
        except FieldFault as fault:
            raise fault.below(f"[{len(out)}]") from None
        return tuple(out)

    return read


def _decoded_one(field: Declared) -> _Convert | None:
    wire = field.wire
    assert wire is not None
    if wire.box:
        if wire.oneof is None:
            return attrgetter("input")
        members = {
            number: None if scalar else _reader(kind)
            for kind, (number, _, *scalar) in wire.oneof.members.items()
        }

        def unboxed(message: Any) -> Any:
            for descriptor, found in message.ListFields():
                convert = members[descriptor.number]
                return found if convert is None else convert(found)
            return None

        return unboxed
    if issubclass(field.kind, IntEnum):
        return _enum(field.kind)
    return None if field.kind in _ZEROS else _reader(field.kind)


def _enum(kind: type[IntEnum]) -> _Convert:
    members = {member.value: member for member in kind}

    def read(value: int) -> IntEnum:
        member = members.get(value)
        if member is None:
            known = ", ".join(f"{member.value} ({member.name})" for member in kind)
            raise FieldFault("", f"{{path}}: unknown value {value}, expected one of {known}")
        return member

    return read
