# SPDX-License-Identifier: Apache-2.0
"""Graphs in the JSON form of the vectors."""

from __future__ import annotations

import hashlib
from typing import Any

from llbkit.llb import Graph
from llbkit.llb.wire.readable import metadata_json, op_json, terminal


def ops_of(graph: Graph) -> list[dict[str, Any]]:
    """Return every op of a graph's definition, the terminal one last; random group ids are numbered."""
    out: list[dict[str, Any]] = [
        {"digest": v.digest, "op": op_json(v.raw), "meta": metadata_json(graph, v.digest)}
        for v in graph.vertices
    ]
    if graph.head is not None:
        raw = terminal(graph)
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        out.append({"digest": digest, "op": op_json(raw), "meta": metadata_json(graph, "")})
    groups: dict[str, str] = {}
    for item in out:
        group = item["meta"].get("progress_group")
        if group and len(group["id"]) >= 25:
            group["id"] = groups.setdefault(group["id"], f"pg-{len(groups)}")
    return out


def source_of(graph: Graph) -> dict[str, Any] | None:
    """Return a graph's source map; None if it has no locations."""
    locations = {
        digest: [{"info": item.info, "lines": [list(pair) for pair in item.lines]} for item in items]
        for digest, items in graph.source_map.locations.items()
        if items
    }
    if not locations:
        return None
    infos = []
    for info in graph.source_map.infos:
        entry = {
            "filename": info.source.name,
            "language": info.source.language,
            "data_sha256": hashlib.sha256(info.source.data).hexdigest(),
        }
        if info.definition is not None:
            from llbkit.llb.wire import decode

            head = decode(info.definition).head
            entry["definition_head"] = head.vertex.digest if head else ""
        infos.append(entry)
    return {"infos": infos, "locations": locations}
