# SPDX-License-Identifier: Apache-2.0
"""Wire bytes to graphs. A decoded vertex keeps its bytes, so unknown fields and digests survive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError

from llbkit.grammar import Source as Text
from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import NO_METADATA, Edge, Graph, LinuxResources, Metadata, ProgressGroup, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap
from llbkit.llb.ir.verify import verify
from llbkit.llb.ir.walk import no_garbage, postorder
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.codec import FieldFault, as_it_came, decoded
from llbkit.llb.wire.scan import fault, leftover, payloads


def decode(data: bytes, *, verified: bool = True) -> Graph:
    """Return the graph of a ``pb.Definition``; ``verified`` False: also one that breaks rules of `llbkit.llb.ir.verify`.

    Raises:
        DefinitionError: the bytes are not a definition, an input is missing, or a rule is broken.
    """
    try:
        definition = pb.Definition.FromString(data)
    except DecodeError as error:
        where = fault(data, "Definition")
        raise DefinitionError(f"not a pb.Definition: {where}") from error
    with no_garbage():
        graph = _graph(definition, data, _has_unknown(definition))
        graph.remember(data)
    if verified:
        verify(graph)
    return graph


def _graph(definition: Any, data: bytes, foreign: bool) -> Graph:
    """Return the graph of a definition, read from ``data``; ``foreign``: look for fields of later versions."""
    unknown = _unknown(definition) if foreign else b""
    raws = list(getattr(definition, "def"))
    if not raws:
        return Graph(vertices=(), head=None, unknown=unknown)
    messages = [_parse(raw, number) for number, raw in enumerate(raws)]
    terminal = messages.pop()
    pointer = "sha256:" + hashlib.sha256(raws.pop()).hexdigest()
    if terminal.WhichOneof("op") is not None or len(terminal.inputs) != 1:
        raise DefinitionError("the last op of the definition is not a terminal op with one input")
    digests = ["sha256:" + hashlib.sha256(raw).hexdigest() for raw in raws]
    vertices = _vertices(digests, raws, messages)
    head = terminal.inputs[0]
    if head.digest not in vertices:
        raise DefinitionError(f"the terminal op refers to {head.digest}, which is not in the definition")
    return Graph(
        vertices=tuple(vertices.values()),
        head=Edge(vertices[head.digest], head.index),
        metadata=MappingProxyType(
            {
                digest: _metadata(item, foreign)
                for digest, item in definition.metadata.items()
                if digest in vertices
            }
        ),
        source_map=_source_map(definition.Source, data, foreign),
        terminal=_metadata(definition.metadata[pointer], foreign)
        if pointer in definition.metadata
        else NO_METADATA,
        unknown=unknown,
    )


def _has_unknown(definition: Any) -> bool:
    """Whether a definition holds fields of later versions, other than inside its ops."""
    known = pb.Definition()
    known.CopyFrom(definition)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != definition.ByteSize())


def _unknown(message: Any) -> bytes:
    return leftover(message.SerializeToString(deterministic=True), message.DESCRIPTOR.name)


def _parse(raw: bytes, number: int) -> Any:
    try:
        return pb.Op.FromString(raw)
    except DecodeError as error:
        where = fault(raw, "Op")
        raise DefinitionError(f"op {number} of the definition is not a pb.Op: {where}") from error


_KINDS: Mapping[str, type[ops.Op]] = {name: kind for kind, (_, name, *_rest) in ops.OPS.members.items()}


def _op(message: Any, name: str, raw: bytes) -> ops.Op:
    """Return the op of a message, read from ``raw``; errors call it ``name``.

    Raises:
        DefinitionError: not an op that this version knows, or a field of it makes no sense.
    """
    said = message.WhichOneof("op")
    if said is None:
        raise DefinitionError(f"op {name}: unknown op")
    kind = _KINDS[said]
    try:
        op: ops.Op = decoded(kind, getattr(message, said), lambda: payloads(raw, ops.OPS.members[kind][0]))
    except FieldFault as fault:
        raise DefinitionError(f"op {name}: {fault.below(said).error()}") from None
    return op


def _platform(message: Any) -> ops.Platform:
    platform: ops.Platform = decoded(ops.Platform, message)
    return platform


def _vertices(digests: list[str], raws: list[bytes], messages: list[Any]) -> dict[str, Vertex]:
    numbers = {digest: number for number, digest in enumerate(digests)}

    def below(number: int) -> list[int]:
        inputs = messages[number].inputs
        try:
            return [numbers[edge.digest] for edge in inputs]
        except KeyError:
            place, edge = next((n, edge) for n, edge in enumerate(inputs) if edge.digest not in numbers)
            raise DefinitionError(
                f"op {digests[number]}: inputs[{place}].digest: {edge.digest!r} is not in the definition"
            ) from None

    try:
        order = postorder(range(len(messages)), below)
    except ValueError as error:
        raise DefinitionError(f"the definition is not an acyclic graph: {error}") from error
    made: dict[int, Vertex] = {}
    known, platform = pb.Platform(), ops.Platform(architecture="", os="")
    for number in order:
        message = messages[number]
        if message.HasField("platform") and message.platform != known:  # mostly that of the step before
            known, platform = message.platform, _platform(message.platform)
        inputs = tuple([Edge(made[numbers[i.digest]], i.index) for i in message.inputs])
        made[number] = _vertex(message, inputs, digests[number], raws[number], platform)
    return {digests[number]: made[number] for number in numbers.values()}


def _vertex(
    message: Any, inputs: tuple[Edge, ...], digest: str, raw: bytes, platform: ops.Platform
) -> Vertex:
    """Return a vertex; ``platform`` is that of the message if it has one."""
    return Vertex(
        op=_op(message, digest, raw),
        inputs=inputs,
        digest=digest,
        raw=raw,
        platform=platform if message.HasField("platform") else None,
        constraints=tuple(message.constraints.filter),
    )


def decode_vertex(raw: bytes, inputs: Sequence[Edge]) -> Vertex:
    """Return the vertex of an op's bytes; ``inputs`` are those that they name, in order.

    Raises:
        DefinitionError: the bytes are not an op, or name other inputs.
    """
    message = _parse(raw, 0)
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    given = [(edge.vertex.digest, edge.index) for edge in inputs]
    named = [(item.digest, item.index) for item in message.inputs]
    if given != named:
        place = next((n for n, (a, b) in enumerate(zip(given, named, strict=False)) if a != b), len(given))
        raise DefinitionError(f"op {digest}: inputs[{place}]: the bytes refer to another input")
    return _vertex(message, tuple(inputs), digest, raw, _platform(message.platform))


def canonical(message: Any, inputs: Sequence[tuple[str, int]]) -> bytes:
    """Return the bytes that this version writes for an op, with these (digest, index) inputs.

    Raises:
        DefinitionError: not an op that this version knows.
    """
    from llbkit.llb.wire.encoding import encode_op

    return encode_op(
        _op(message, "op", message.SerializeToString(deterministic=True)),
        inputs,
        _platform(message.platform) if message.HasField("platform") else None,
        tuple(message.constraints.filter) if message.HasField("constraints") else None,
    )


def decode_op(raw: bytes) -> tuple[ops.Op, tuple[tuple[str, int], ...]]:
    """Return an op and its (digest, index) inputs.

    Raises:
        DefinitionError: the bytes are not an op.
    """
    message = _parse(raw, 0)
    return _op(message, "op", raw), tuple((i.digest, i.index) for i in message.inputs)


def _metadata(message: Any, foreign: bool) -> Metadata:
    group = limits = None
    if message.HasField("progress_group"):
        group = decoded(ProgressGroup, message.progress_group)
    if message.HasField("linux_resources"):
        limits = decoded(LinuxResources, message.linux_resources)
    caps = sorted(message.caps.items())
    return Metadata(
        ignore_cache=message.ignore_cache,
        description=dict(message.description),
        export_cache=message.export_cache.Value if message.HasField("export_cache") else None,
        caps=tuple([name for name, on in caps if on]),
        progress_group=group,
        linux_resources=limits,
        unknown=(_unknown(message) if foreign else b"") + _denied([name for name, on in caps if not on]),
    )


def _denied(names: list[str]) -> bytes:
    """Return the caps that are listed as false: they ask for nothing, but are kept."""
    return b"".join(pb.OpMetadata(caps={name: False}).SerializeToString() for name in names)


def _source_map(message: Any, data: bytes, foreign: bool) -> SourceMap:
    raws: list[bytes] = []
    if any(info.HasField("definition") for info in message.infos):
        raws = [
            info
            for source in payloads(data, pb.Definition.SOURCE_FIELD_NUMBER)
            for info in payloads(source, pb.Source.INFOS_FIELD_NUMBER)
        ]
    infos = tuple(
        SourceInfo(
            source=Text.from_bytes(info.filename, info.data, info.language),
            definition=as_it_came(
                info.definition, payloads(raws[number], pb.SourceInfo.DEFINITION_FIELD_NUMBER)
            )
            if info.HasField("definition")
            else None,
            unknown=_unknown(info) if foreign else b"",
        )
        for number, info in enumerate(message.infos)
    )
    locations = {}
    for digest, entry in message.locations.items():
        items = []
        for item in entry.locations:
            if not 0 <= item.sourceIndex < len(infos):
                raise DefinitionError(
                    f"op {digest}: Source.locations: sourceIndex {item.sourceIndex} is not one of {len(infos)} infos"
                )
            lines = tuple((r.start.line, r.end.line) for r in item.ranges)
            columns = tuple((r.start.character, r.end.character) for r in item.ranges)
            known = any(column for pair in columns for column in pair)
            items.append(Location(item.sourceIndex, lines, columns if known else ()))
        locations[digest] = tuple(items)
    return SourceMap(infos=infos, locations=locations)
