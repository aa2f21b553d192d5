# SPDX-License-Identifier: Apache-2.0
"""Graphs as lines of JSON, as BuildKit's ``buildctl debug dump-llb`` prints them, and back.

A line for each vertex, inputs first, and one for the pointer op that ends a definition; behind them one with the source
map, if there is one. A digest names a vertex for those that use it: after an edit it need not be right, and what is read has
the digests that it should have. ``Raw`` holds an op's bytes where its fields do not say all of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir.graph import Graph
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.decoding import canonical, decode
from llbkit.llb.wire.encoding import encode, encode_op
from llbkit.llb.wire.readable import message_json, metadata_json, op_json, terminal

M = TypeVar("M", bound=Message)


_KEYS = ("Op", "Digest", "OpMetadata", "Raw", "Source", "Unknown")


def render(graph: Graph) -> str:
    """Return a graph as lines of JSON; `read` makes the same graph of it."""
    lines: list[dict[str, Any]] = []
    for vertex in graph:
        line: dict[str, Any] = {"Op": op_json(vertex.raw), "Digest": vertex.digest}
        if vertex.digest in graph.metadata:
            line["OpMetadata"] = _metadata(graph, vertex.digest)
        keys = [(edge.vertex.digest, edge.index) for edge in vertex.inputs]
        if canonical(pb.Op.FromString(vertex.raw), keys) != vertex.raw:
            line["Raw"] = base64.b64encode(vertex.raw).decode()
        lines.append(line)
    if graph.head is not None:
        raw = terminal(graph)
        lines.append({"Op": op_json(raw), "Digest": _digest(raw), "OpMetadata": _metadata(graph, "")})
    if graph.source_map:
        source = message_json(pb.Definition.FromString(encode(replace(graph))).Source)
        for item, info in zip(source.get("infos", ()), graph.source_map.infos, strict=True):
            if info.unknown:
                item["Unknown"] = base64.b64encode(info.unknown).decode()
        lines.append({"Source": source})
    if graph.unknown:
        lines.append({"Unknown": base64.b64encode(graph.unknown).decode()})
    return "".join(_without_hidden(json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)


def _without_hidden(text: str) -> str:
    """Escape in JSON what cannot be seen, which could steer a terminal; bytes that are not UTF-8 stay as they are."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or "\ud800" <= char <= "\udfff" else json.dumps(char)[1:-1]
        for char in text
    )


def read(text: str, *, verified: bool = True) -> Graph:
    """Return the graph of lines of JSON.

    Raises:
        DefinitionError: a line is not JSON or holds what it should not, or the graph breaks a rule.
    """
    definition = pb.Definition()
    out: list[bytes] = []
    digests: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise DefinitionError("not a JSON object")
            if extra := found.keys() - set(_KEYS):
                raise DefinitionError(f"unknown key {min(extra)!r}: expected one of {', '.join(_KEYS)}")
            if "Op" in found or "Raw" in found:
                _take(found, definition, digests)
            if "Source" in found:
                out += _source(found["Source"], digests)
            if "Unknown" in found:
                out.append(_bytes(found, "Unknown"))
        except (ValueError, RecursionError, DefinitionError, DecodeError) as error:
            raise DefinitionError(f"line {number}: {_first_line(error)}") from error
    data = definition.SerializeToString(deterministic=True) + b"".join(out)
    return replace(decode(data, verified=verified))


def _take(found: Mapping[str, Any], definition: pb.Definition, digests: dict[str, str]) -> None:
    if "Raw" in found:
        raw = _bytes(found, "Raw")
    else:
        message = _parsed(found["Op"], pb.Op)
        inputs = [(digests.get(item.digest, item.digest), item.index) for item in message.inputs]
        if message.WhichOneof("op") is None:
            raw = encode_op(None, inputs, constraints=None)
        else:
            raw = canonical(message, inputs)
    digests[str(found.get("Digest", ""))] = _digest(raw)
    getattr(definition, "def").append(raw)
    given = found.get("OpMetadata")
    if given is not None:
        if not isinstance(given, dict):
            raise DefinitionError("OpMetadata is not a JSON object")
        given = dict(given)
        unknown = _bytes(given, "Unknown") if "Unknown" in given else b""
        given.pop("Unknown", None)
        if isinstance(given.get("caps"), list):
            given["caps"] = {str(name): True for name in given["caps"]}
        if isinstance(given.get("export_cache"), bool):
            given["export_cache"] = {"Value": given["export_cache"]}
        metadata = _parsed(given, pb.OpMetadata)
        metadata.MergeFromString(unknown)
        definition.metadata[_digest(raw)].MergeFrom(metadata)


def _source(given: object, digests: Mapping[str, str]) -> list[bytes]:
    """Return the bytes of the field ``Source`` of a definition."""
    if not isinstance(given, dict):
        raise DefinitionError("Source is not a JSON object")
    infos = [dict(item) if isinstance(item, dict) else item for item in given.get("infos", ())]
    unknown = [_bytes(item, "Unknown") if "Unknown" in item else b"" for item in infos]
    for item in infos:
        item.pop("Unknown", None)
    message = _parsed({**given, "infos": infos}, pb.Source)
    for info, extra in zip(message.infos, unknown, strict=True):
        info.MergeFromString(extra)
    places = {digests.get(digest, digest): message.locations[digest] for digest in message.locations}
    moved = pb.Source(locations=places, infos=message.infos)
    return [pb.Definition(Source=moved).SerializeToString(deterministic=True)]


def _metadata(graph: Graph, digest: str) -> dict[str, Any]:
    out = metadata_json(graph, digest)
    metadata = graph.metadata_of(digest) if digest else graph.terminal
    if metadata.unknown:
        out["Unknown"] = base64.b64encode(metadata.unknown).decode()
    return out


def _parsed(given: object, kind: type[M]) -> M:
    if not isinstance(given, dict):
        raise DefinitionError(f"{kind.DESCRIPTOR.name} is not a JSON object")
    try:
        return json_format.ParseDict(given, kind())
    except json_format.ParseError as error:
        raise DefinitionError(str(error)) from None


def _bytes(found: Mapping[str, Any], key: str) -> bytes:
    return base64.b64decode(str(found[key]), validate=True)


def _digest(raw: bytes) -> str:

    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
