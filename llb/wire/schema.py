# SPDX-License-Identifier: Apache-2.0
"""The messages of package ``pb`` for protobuf: those of ops as the fields of ops declare them, and those around ops.

Source: BuildKit ``solver/pb/ops.proto``. The descriptors stand in a pool of their own, so that other users of protobuf in
the same process may bring the same package. They are written byte by byte, since protobuf's own classes for descriptors take
10 ms to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from llbkit.llb.ir import ops
from llbkit.llb.ir.fields import Declared, OneOf, Wire, declared, message_name, wire_name
from llbkit.llb.ir.graph import LinuxResources, ProgressGroup
from llbkit.llb.wire.bytes import delimited, varint

# As google/protobuf/descriptor.proto numbers them.
_SCALARS: Mapping[str, int] = {
    "bool": 8,
    "bytes": 12,
    "int32": 5,
    "int64": 3,
    "string": 9,
    "uint32": 13,
    "uint64": 4,
}
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3
_KINDS: Mapping[type, str] = {bool: "bool", bytes: "bytes", int: "int64", str: "string"}

# What holds ops together, in the words of a .proto file: kind, name, number.
_AROUND: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    "Op": (
        ("repeated Input", "inputs", 1),
        ("Platform", "platform", 10),
        ("WorkerConstraints", "constraints", 11),
    ),
    "Input": (("string", "digest", 1), ("int64", "index", 2)),
    "WorkerConstraints": (("repeated string", "filter", 1),),
    "Definition": (("repeated bytes", "def", 1), ("map OpMetadata", "metadata", 2), ("Source", "Source", 3)),
    "OpMetadata": (
        ("bool", "ignore_cache", 1),
        ("map string", "description", 2),
        ("ExportCache", "export_cache", 4),
        ("map bool", "caps", 5),
        ("ProgressGroup", "progress_group", 6),
        ("LinuxResources", "linux_resources", 7),
    ),
    "ExportCache": (("bool", "Value", 1),),
    "Source": (("map Locations", "locations", 1), ("repeated SourceInfo", "infos", 2)),
    "Locations": (("repeated Location", "locations", 1),),
    "SourceInfo": (
        ("string", "filename", 1),
        ("bytes", "data", 2),
        ("Definition", "definition", 3),
        ("string", "language", 4),
    ),
    "Location": (("int32", "sourceIndex", 1), ("repeated Range", "ranges", 2)),
    "Range": (("Position", "start", 1), ("Position", "end", 2)),
    "Position": (("int32", "line", 1), ("int32", "character", 2)),
}


class _File:
    """A file of descriptors under construction: messages and enums by name, each with the bytes of what it holds."""

    def __init__(self) -> None:
        self._messages: dict[str, list[bytes]] = {}
        self._enums: dict[str, list[bytes]] = {}

    def serialized(self) -> bytes:
        """Return the ``FileDescriptorProto``."""
        out = [_text(1, "ops.proto"), _text(2, "pb")]
        out += [delimited(4, _text(1, name) + b"".join(parts)) for name, parts in self._messages.items()]
        out += [delimited(5, _text(1, name) + b"".join(parts)) for name, parts in self._enums.items()]
        return b"".join([*out, _text(12, "proto3")])

    def around(self) -> None:
        """Add the messages around ops."""
        for name, rows in _AROUND.items():
            message = self._messages[name] = []
            for text, field, number in rows:
                label, _, kind = text.rpartition(" ")
                self._field(
                    name, message, field, number, kind, many=label == "repeated", mapping=label == "map"
                )
            if name == "Op":
                self._oneof(name, message, ops.OPS)

    def add(self, kind: type[Any]) -> str:
        """Add the message of an op class and of what its fields hold, each once; return its name."""
        name = message_name(kind)
        if name in self._messages:
            return name
        message = self._messages[name] = []
        for field in declared(kind).values():
            wire = field.wire
            if wire is None:
                continue
            if wire.oneof is not None and not wire.box:
                self._oneof(name, message, wire.oneof)
            else:
                said = self._kind(field, wire)
                self._field(
                    name,
                    message,
                    wire_name(field),
                    wire.number,
                    said,
                    many=field.many,
                    mapping=field.mapping,
                )
        return name

    def _kind(self, field: Declared, wire: Wire) -> str:
        if wire.embeds:
            return wire.embeds
        if wire.box:
            return self._box(wire)
        if issubclass(field.kind, IntEnum):
            return self._enum(field.kind, wire.kind or field.kind.__name__)
        return wire.kind or _KINDS.get(field.kind) or self.add(field.kind)

    def _box(self, wire: Wire) -> str:
        if wire.box not in self._messages:
            message = self._messages[wire.box] = []
            if wire.oneof is not None:
                self._oneof(wire.box, message, wire.oneof)
            else:
                self._field(wire.box, message, "input", 1, "int64")
        return wire.box

    def _enum(self, kind: type[IntEnum], name: str) -> str:
        self._enums[name] = [delimited(2, _text(1, item.name) + _number(2, item.value)) for item in kind]
        return name

    def _oneof(self, owner: str, message: list[bytes], oneof: OneOf) -> None:
        message.append(delimited(8, _text(1, oneof.name)))
        for kind, (number, name, *scalar) in oneof.members.items():
            said = scalar[0] if scalar else self.add(kind)
            self._field(owner, message, name, number, said, member=True)

    def _field(
        self,
        owner: str,
        message: list[bytes],
        name: str,
        number: int,
        kind: str,
        *,
        many: bool = False,
        mapping: bool = False,
        member: bool = False,
    ) -> None:
        """Add a field to a message; ``member`` of its only ``oneof``."""
        if mapping:
            kind = self._entry(owner, message, name, kind)
        label = _REPEATED if many or mapping else _OPTIONAL
        out = _text(1, name) + _number(3, number) + _number(4, label)
        if kind in _SCALARS:
            out += _number(5, _SCALARS[kind])
        else:
            out += _number(5, _ENUM if kind in self._enums else _MESSAGE) + _text(6, f".pb.{kind}")
        message.append(delimited(2, out + _number(9, 0) if member else out))

    def _entry(self, owner: str, message: list[bytes], name: str, kind: str) -> str:
        """Add the message of a map's entries; return its name inside the package."""
        said = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
        entry: list[bytes] = []
        self._field(said, entry, "key", 1, "string")
        self._field(said, entry, "value", 2, kind)
        options = delimited(7, _number(7, True))
        message.append(delimited(3, _text(1, said) + b"".join(entry) + options))
        return f"{owner}.{said}"


def _text(number: int, text: str) -> bytes:
    return delimited(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def file() -> bytes:
    """Return the descriptors of all messages, as a ``FileDescriptorProto``."""
    out = _File()
    out.around()
    for kind in (ops.Platform, ProgressGroup, LinuxResources):
        out.add(kind)
    return out.serialized()


def classes() -> Mapping[str, Any]:
    """Return the classes of all messages and the values of all enums, by name."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file())
    found = pool.FindFileByName("ops.proto")
    values = [value for enum in found.enum_types_by_name.values() for value in enum.values]
    return {value.name: value.number for value in values} | {
        name: message_factory.GetMessageClass(one) for name, one in found.message_types_by_name.items()
    }
