# SPDX-License-Identifier: Apache-2.0
"""Definitions as other writers might write them: the same messages, in other bytes, with unknown fields."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from google.protobuf.descriptor import Descriptor
from hypothesis import strategies as st

from llbkit.llb.ir.graph import Graph
from llbkit.llb.wire import encode, encode_op
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.scan import Chunk, chunks

NOBODYS = (
    b"\xfa\x3e\x01x",
    b"\xf8\x3e\x07",
    b"\xfb\x3e\x08\x01\xfc\x3e",
    b"\xfd\x3e1234",
    b"\xf9\x3e12345678",
)


def varint(value: int, spare: int = 0) -> bytes:
    """A varint, with ``spare`` bytes more than it needs."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(spare):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def _as_foreign(draw: st.DrawFn, data: bytes, descriptor: Descriptor) -> bytes:
    """Shuffle fields (each list keeps its order), pad lengths, add unknown fields; the same in nested messages."""
    lists: dict[int, list[bytes]] = {}
    for chunk in chunks(data):
        lists.setdefault(chunk.number, []).append(_one(draw, chunk, descriptor))
    order = draw(st.permutations([number for number, items in lists.items() for _ in items]))
    out = [lists[number].pop(0) for number in order]
    if not descriptor.GetOptions().map_entry and draw(st.integers(0, 3)) == 0:
        out.insert(draw(st.integers(0, len(out))), draw(st.sampled_from(NOBODYS)))
    return b"".join(out)


def _one(draw: st.DrawFn, chunk: Chunk, descriptor: Descriptor) -> bytes:
    field = descriptor.fields_by_number.get(chunk.number)
    if field is None or chunk.kind != 2:
        return chunk.data
    payload = chunk.payload
    if field.message_type is not None:
        payload = _as_foreign(draw, payload, field.message_type)
    spare = draw(st.sampled_from([0, 0, 0, 1]))
    return varint(chunk.number << 3 | 2) + varint(len(payload), spare) + payload


@st.composite
def foreign(draw: st.DrawFn, graph: Graph) -> tuple[bytes, dict[str, str]]:
    """Return a definition of ``graph`` in other bytes, and what each digest has become."""
    new: dict[str, str] = {}
    raws = []
    for vertex in graph:
        inputs = [(new[edge.vertex.digest], edge.index) for edge in vertex.inputs]
        raw = _as_foreign(
            draw, encode_op(vertex.op, inputs, vertex.platform, vertex.constraints), pb.Op.DESCRIPTOR
        )
        new[vertex.digest] = "sha256:" + hashlib.sha256(raw).hexdigest()
        raws.append(raw)
    assert graph.head is not None
    terminal = encode_op(None, [(new[graph.head.vertex.digest], graph.head.index)], constraints=None)
    places = {new[digest]: where for digest, where in graph.source_map.locations.items()}
    around = replace(
        graph,
        metadata={new[digest]: item for digest, item in graph.metadata.items()},
        source_map=replace(graph.source_map, locations=places),
    )
    message = pb.Definition.FromString(encode(around))
    old_terminal = "sha256:" + hashlib.sha256(getattr(message, "def")[-1]).hexdigest()
    if old_terminal in message.metadata:
        digest = "sha256:" + hashlib.sha256(terminal).hexdigest()
        message.metadata[digest].CopyFrom(message.metadata[old_terminal])
        del message.metadata[old_terminal]
    getattr(message, "def")[:] = [*raws, terminal]
    return _as_foreign(draw, message.SerializeToString(), pb.Definition.DESCRIPTOR), new
