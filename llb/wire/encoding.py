# SPDX-License-Identifier: Apache-2.0
"""Ops and graphs to wire bytes, deterministically, in the order in which BuildKit writes them.

BuildKit writes the members of a ``oneof`` after all plain fields, so an op is encoded as two messages, one without
and one with nothing but the ``oneof``, and their bytes are concatenated (which protobuf defines as their merge).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from google.protobuf.message import Message

from llbkit.llb.errors import unencodable
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import NO_METADATA, Graph, Metadata
from llbkit.llb.ir.sourcemap import SourceMap
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.bytes import delimited, entry, string_map
from llbkit.llb.wire.codec import encoded, message_of


def encode_op(
    op: ops.Op | None,
    inputs: Sequence[tuple[str, int]],
    platform: ops.Platform | None = None,
    constraints: Sequence[str] | None = (),
) -> bytes:
    """Return the bytes of one ``pb.Op``. ``inputs`` are (digest, output index); None constraints: not present."""
    plain = pb.Op(inputs=[pb.Input(digest=digest, index=index) for digest, index in inputs])
    if platform is not None:
        plain.platform.CopyFrom(_platform(platform))
    if constraints is not None:
        plain.constraints.SetInParent()
        plain.constraints.filter.extend(constraints)
    out = plain.SerializeToString(deterministic=True)
    if op is not None:
        out += delimited(ops.OPS.members[type(op)][0], encoded(op))
    return bytes(out)


@lru_cache(64)
def _platform(platform: ops.Platform) -> Message:
    """Return the message of a platform, to be copied from; the steps of a graph have few different ones."""
    message: Message = message_of(platform)
    return message


def encode(graph: Graph) -> bytes:
    """Return the bytes of the ``pb.Definition`` of a graph, its terminal op last. Scratch is an empty definition.

    A decoded graph gives the bytes that it was decoded from.

    Raises:
        DefinitionError: a string outside the ops, such as a name, is not UTF-8.
    """
    if graph.wire is not None:
        return graph.wire
    try:
        return _definition(graph)
    except ValueError as error:
        raise unencodable(error) from None


def _definition(graph: Graph) -> bytes:
    if graph.head is None:
        return graph.unknown
    terminal = encode_op(None, [(graph.head.vertex.digest, graph.head.index)], constraints=None)
    metadata = dict(graph.metadata)
    if graph.terminal != NO_METADATA:
        metadata["sha256:" + hashlib.sha256(terminal).hexdigest()] = graph.terminal
    out = [delimited(1, raw) for raw in (*(vertex.raw for vertex in graph.vertices), terminal)]
    out += [entry(2, digest, encode_metadata(metadata[digest])) for digest in sorted(metadata)]
    if graph.source_map:
        out.append(delimited(3, _source_map(graph.source_map)))
    return b"".join([*out, graph.unknown])


def encode_metadata(metadata: Metadata) -> bytes:
    """Return the bytes of a vertex's ``pb.OpMetadata``."""
    out = [string_map(2, metadata.description)] if metadata.description else []
    if metadata.ignore_cache:
        out.insert(0, _bytes(pb.OpMetadata(ignore_cache=True)))
    if metadata.export_cache is not None:
        out.append(_bytes(pb.OpMetadata(export_cache=pb.ExportCache(Value=metadata.export_cache))))
    if metadata.caps:
        out.append(_caps(metadata.caps))
    if metadata.progress_group is not None:
        out.append(_bytes(pb.OpMetadata(progress_group=message_of(metadata.progress_group))))
    if metadata.linux_resources is not None:
        out.append(_bytes(pb.OpMetadata(linux_resources=message_of(metadata.linux_resources))))
    return b"".join([*out, metadata.unknown])


@lru_cache(256)
def _caps(names: tuple[str, ...]) -> bytes:
    """Return the map of caps; the steps of a graph need few different sets of them."""
    return b"".join(_bytes(pb.OpMetadata(caps={name: True})) for name in sorted(names))


def _bytes(message: Message) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _source_map(source_map: SourceMap) -> bytes:
    out = []
    for digest in sorted(source_map.locations):
        places = pb.Locations()
        for location in source_map.locations[digest]:
            item = places.locations.add(sourceIndex=location.info)
            for first, left, last, right in location.ranges:
                start, end = pb.Position(line=first, character=left), pb.Position(line=last, character=right)
                item.ranges.add(start=start, end=end)
        out.append(entry(1, digest, _bytes(places)))
    for info in source_map.infos:
        payload = _bytes(pb.SourceInfo(filename=info.source.name, data=info.source.data))
        if info.definition is not None:
            payload += delimited(3, info.definition)
        payload += _bytes(pb.SourceInfo(language=info.source.language)) + info.unknown
        out.append(delimited(2, payload))
    return b"".join(out)


__all__ = ["encode", "encode_metadata", "encode_op"]
