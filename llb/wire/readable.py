# SPDX-License-Identifier: Apache-2.0
"""Wire messages as plain JSON values: field names as in the ``.proto`` file, populated fields only."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from llb.graph import Graph
from llb.wire import ops_pb2 as pb
from llb.wire.encoding import encode_metadata, encode_op


def op_json(raw: bytes) -> dict[str, Any]:
    """Return an op's bytes as JSON: integers as numbers, enums as names, bytes in base64."""
    return _message(pb.Op.FromString(raw))


def metadata_json(graph: Graph, digest: str) -> dict[str, Any]:
    """Return a vertex's metadata as JSON; that of the terminal op for ""."""
    metadata = graph.metadata_of(digest) if digest else graph.terminal
    out = _message(pb.OpMetadata.FromString(encode_metadata(metadata)))
    if metadata.caps:
        out["caps"] = list(metadata.caps)
    if metadata.progress_group is not None:
        out["progress_group"].setdefault("weak", False)
    if metadata.export_cache is not None:
        out["export_cache"] = metadata.export_cache
    return out


def terminal(graph: Graph) -> bytes:
    """Return the bytes of the pointer op that ends a graph's definition."""
    assert graph.head is not None, "scratch has no terminal op"
    return encode_op(None, [(graph.head.vertex.digest, graph.head.index)], constraints=None)


def _message(message: Message) -> dict[str, Any]:
    return {descriptor.name: _field(descriptor, value) for descriptor, value in message.ListFields()}


def _field(descriptor: FieldDescriptor, value: Any) -> Any:
    kind = descriptor.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {str(key): _value(inner, value[key]) for key in sorted(value)}
    if descriptor.is_repeated:
        return [_value(descriptor, item) for item in value]
    return _value(descriptor, value)


def _value(descriptor: FieldDescriptor, value: Any) -> Any:
    if descriptor.message_type is not None:
        return _message(value)
    if descriptor.enum_type is not None:
        return descriptor.enum_type.values_by_number[value].name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
