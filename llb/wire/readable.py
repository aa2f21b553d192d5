# SPDX-License-Identifier: Apache-2.0
"""Wire messages as plain JSON values: field names as in the ``.proto`` file, populated fields only."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from llbkit.llb.ir.graph import Graph
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.encoding import encode, encode_metadata, encode_op


def op_json(raw: bytes) -> dict[str, Any]:
    """Return an op's bytes as JSON: integers as numbers, enums as names, bytes in base64."""
    return _message(pb.Op.FromString(raw))


def message_json(message: Message) -> dict[str, Any]:
    """Return any wire message as JSON."""
    return _message(message)


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


def definition_json(graph: Graph) -> dict[str, Any]:
    """Return a graph's definition as BuildKit's answers hold it: ops in base64, metadata and locations by digest."""
    return _message(pb.Definition.FromString(encode(graph)))


def converted_json(graph: Graph) -> dict[str, Any]:
    """Return a graph's definition as BuildKit's ``frontend.convertllb`` answers: ops and locations in protobuf's JSON."""
    message = pb.Definition.FromString(encode(graph))
    ops = {
        "sha256:" + hashlib.sha256(raw).hexdigest(): pb.Op.FromString(raw) for raw in getattr(message, "def")
    }
    return {
        "def": {digest: _message(ops[digest], proto=True) for digest in sorted(ops)},
        "metadata": {digest: _message(message.metadata[digest]) for digest in sorted(message.metadata)},
        "source": _message(message.Source, proto=True),
    }


_WIDE = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def _message(message: Message, *, proto: bool = False) -> dict[str, Any]:
    """Return a message's populated fields; ``proto``: in protobuf's own JSON, with its names and wide integers as text."""
    return {
        descriptor.json_name if proto else descriptor.name: _field(descriptor, value, proto=proto)
        for descriptor, value in message.ListFields()
    }


def _field(descriptor: FieldDescriptor, value: Any, *, proto: bool) -> Any:
    kind = descriptor.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {str(key): _value(inner, value[key], proto=proto) for key in sorted(value)}
    if descriptor.is_repeated:
        return [_value(descriptor, item, proto=proto) for item in value]
    return _value(descriptor, value, proto=proto)


def _value(descriptor: FieldDescriptor, value: Any, *, proto: bool) -> Any:
    if descriptor.message_type is not None:
        return _message(value, proto=proto)
    if descriptor.enum_type is not None:
        return descriptor.enum_type.values_by_number[value].name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if proto and descriptor.cpp_type in _WIDE else value
