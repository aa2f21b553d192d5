# SPDX-License-Identifier: Apache-2.0
"""The messages that the ops declare are those of BuildKit's ``ops.proto``, as it is recorded beside the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from llbkit.llb.wire import schema

RECORDED = Path(__file__).parents[2] / "golden" / "ops.proto"
BLOCK = re.compile(r"^(message|enum) (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\s*(?:(repeated) )?(map<string, )?([\w]+)>? (\w+) = (\d+);", re.MULTILINE)
VALUE = re.compile(r"^\s*(\w+) = (\d+);", re.MULTILINE)
ONEOF = re.compile(r"oneof (\w+) \{(.*?)\}", re.DOTALL)

Row = tuple[str, str, str, str, int, str]
"""Message, ``repeated`` or ``map`` or nothing, kind, name, number, oneof."""


def _recorded(text: str) -> Iterator[Row]:
    for what, name, body in BLOCK.findall(text):
        if what == "enum":
            yield from ((name, "", "value", value, int(number), "") for value, number in VALUE.findall(body))
            continue
        union = {
            field[3]: found[1] for found in ONEOF.finditer(body) for field in FIELD.findall(found.group(2))
        }
        for repeated, mapping, kind, field, number in FIELD.findall(body):
            label = "map" if mapping else repeated
            yield name, label, kind, field, int(number), union.get(field, "")


def _declared() -> Iterator[Row]:
    file = FileDescriptorProto.FromString(schema.file())
    for enum in file.enum_type:
        yield from ((enum.name, "", "value", value.name, value.number, "") for value in enum.value)
    for message in file.message_type:
        entries = {nested.name: nested for nested in message.nested_type}
        for field in message.field:
            entry = entries.get(field.type_name.rpartition(".")[2])
            if entry is not None:
                label, kind = "map", _kind(entry.field[1])
            else:
                label, kind = _label(field), _kind(field)
            union = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            yield message.name, label, kind, field.name, field.number, union


def _label(field: FieldDescriptorProto) -> str:
    return "repeated" if field.label == FieldDescriptorProto.LABEL_REPEATED else ""


def _kind(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return field.type_name.removeprefix(".pb.")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def test_the_recorded_file_is_read_whole() -> None:
    text = RECORDED.read_text()
    rows = list(_recorded(text))
    assert len(rows) == text.count(";") - 2  # syntax, package
    assert ("Op", "", "BuildOp", "build", 5, "op") in rows


def test_every_message_is_as_recorded() -> None:
    assert sorted(_declared()) == sorted(_recorded(RECORDED.read_text()))


def test_maps_are_keyed_by_strings() -> None:
    file = FileDescriptorProto.FromString(schema.file())
    nested = [entry for message in file.message_type for entry in message.nested_type]
    assert nested
    assert all(entry.options.map_entry and _kind(entry.field[0]) == "string" for entry in nested)
