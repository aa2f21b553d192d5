# SPDX-License-Identifier: Apache-2.0
"""Scan wire bytes field by field, for unknown fields and for the position of a malformation.

Protobuf's own parser says that bytes are malformed, not where, and hands out unknown fields of one level only. Both are
needed rarely, so they are read from the bytes here. Nothing recurses over what a message nests.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.bytes import varint
from llbkit.records import dataclass

_VARINT, _FIXED64, _DELIMITED, _GROUP, _END, _FIXED32 = range(6)
_LONGEST = 10  # bytes of a varint
_DEEPEST = 100  # messages inside each other that protobuf reads
_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _DELIMITED,
    FieldDescriptor.TYPE_BYTES: _DELIMITED,
    FieldDescriptor.TYPE_MESSAGE: _DELIMITED,
}


class MalformedError(Exception):
    """Malformed protobuf message; the text says why."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One field of a message: its number and wire type, all its bytes, and where among them its payload begins."""

    number: int
    kind: int
    data: bytes
    head: int

    @property
    def payload(self) -> bytes:
        """The bytes behind tag and length."""
        return self.data[self.head :]


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the fields of a message in their order.

    Raises:
        MalformedError: the bytes are not a message, from here on.
    """
    place = 0
    while place < len(data):
        start = place
        number, kind, place = _tag(data, place)
        if kind == _END:
            raise MalformedError("unexpected end of group")
        head, place = (_past_group(data, place, number),) * 2 if kind == _GROUP else _past(data, place, kind)
        yield Chunk(number, kind, data[start:place], head - start)


def payloads(data: bytes, number: int) -> list[bytes]:
    """Return the very bytes of the messages in field ``number`` of a sound message, in their order."""
    return [chunk.payload for chunk in chunks(data) if chunk.number == number and chunk.kind == _DELIMITED]


def leftover(data: bytes, name: str) -> bytes:
    """Return what a sound message ``pb.<name>`` holds besides its known fields, as bytes to append to the rest.

    Messages in fields that occur once are looked into, since appending merges them; those in lists, maps and nested
    definitions are not.
    """
    return _leftover(data, _descriptor(name))


def _leftover(data: bytes, descriptor: Descriptor) -> bytes:
    out = []
    for chunk in chunks(data):
        field = descriptor.fields_by_number.get(chunk.number)
        if field is None or not _fits(field, chunk.kind):
            out.append(chunk.data)
        elif (kind := _merged(field)) is not None and (inner := _leftover(chunk.payload, kind)):
            out.append(varint(chunk.number << 3 | _DELIMITED) + varint(len(inner)) + inner)
    return b"".join(out)


def fault(data: bytes, name: str) -> str:
    """Describe which field of a ``pb.<name>`` that protobuf refuses is broken, and how: ``exec.meta.args[1]: is not UTF-8``."""
    todo: list[tuple[bytes, Descriptor, str, int]] = [(data, _descriptor(name), "", 0)]
    while todo:
        message, kind, path, depth = todo.pop()
        if depth > _DEEPEST:
            return f"{path.split('.')[0]}: messages are nested more than {_DEEPEST} deep"
        counts: dict[int, int] = {}
        inner: list[tuple[bytes, Descriptor, str, int]] = []
        last = path
        try:
            for chunk in chunks(message):
                field = kind.fields_by_number.get(chunk.number)
                last = _below(path, field, counts, chunk.number)
                if field is None or chunk.kind != _DELIMITED:
                    continue
                if (problem := _broken(field, chunk.payload)) is not None:
                    return f"{last}: {problem}"
                if field.message_type is not None:
                    inner.append((chunk.payload, field.message_type, last, depth + 1))
        except MalformedError as error:
            return f"after {last}: {error}" if last != path else f"{path}: {error}" if path else str(error)
        todo += reversed(inner)
    return "malformed"


def _below(path: str, field: FieldDescriptor | None, counts: dict[int, int], number: int) -> str:
    if field is None:
        name = f"field {number}"
    elif field.is_repeated:
        name = f"{field.name}[{counts.get(number, 0)}]"
        counts[number] = counts.get(number, 0) + 1
    else:
        name = field.name
    return f"{path}.{name}" if path else name


def _broken(field: FieldDescriptor, payload: bytes) -> str | None:
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            return f"invalid UTF-8 (byte {error.start} of {len(payload)})"
    elif field.is_repeated and field.type not in _SCALARS:
        try:
            place = 0
            while place < len(payload):
                place = _end_of_varint(payload, place)
        except MalformedError as error:
            return str(error)
    return None


def _fits(field: FieldDescriptor, kind: int) -> bool:
    wanted = _SCALARS.get(field.type, _VARINT)
    return kind == wanted or (kind == _DELIMITED and field.is_repeated)


def _merged(field: FieldDescriptor) -> Descriptor | None:
    """Return the kind of the messages that appending merges; None for lists, maps, definitions and what is not a message."""
    kind = field.message_type
    return None if kind is None or field.is_repeated or kind.name == "Definition" else kind


def _descriptor(name: str) -> Descriptor:
    found: Descriptor = getattr(pb, name).DESCRIPTOR
    return found


def _tag(data: bytes, place: int) -> tuple[int, int, int]:
    end = _end_of_varint(data, place)
    tag = _value(data, place, end)
    number, kind = tag >> 3, tag & 7
    if number == 0 or number >= 1 << 29:
        raise MalformedError(f"invalid field number {number}")
    if kind > _FIXED32:
        raise MalformedError(f"field {number} has the unknown wire type {kind}")
    return number, kind, end


def _past(data: bytes, place: int, kind: int) -> tuple[int, int]:
    """Return where the payload of a field that is not a group begins and ends."""
    match kind:
        case 0:
            return place, _end_of_varint(data, place)
        case 1 | 5:
            head, size = place, 8 if kind == _FIXED64 else 4
        case _:
            head = _end_of_varint(data, place)
            size = _value(data, place, head)
    if head + size > len(data):
        raise MalformedError(f"truncated: {len(data) - head} of {size} bytes")
    return head, head + size


def _past_group(data: bytes, place: int, number: int) -> int:
    open_groups = [number]
    while open_groups:
        if place >= len(data):
            raise MalformedError("unterminated group")
        number, kind, place = _tag(data, place)
        if kind == _GROUP:
            open_groups.append(number)
        elif kind == _END:
            if open_groups.pop() != number:
                raise MalformedError("unexpected end of group")
        else:
            _, place = _past(data, place, kind)
    return place


def _end_of_varint(data: bytes, place: int) -> int:
    for end in range(place, min(place + _LONGEST, len(data))):
        if data[end] < 0x80:
            return end + 1
    raise MalformedError("truncated" if len(data) - place < _LONGEST else "varint is too long")


def _value(data: bytes, place: int, end: int) -> int:
    value = 0
    for number in range(end - 1, place - 1, -1):
        value = value << 7 | data[number] & 0x7F
    return value
