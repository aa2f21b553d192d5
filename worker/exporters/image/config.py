# SPDX-License-Identifier: Apache-2.0
"""The image config of a result: the frontend's, completed with rootfs, history and creation time.

Rules as BuildKit's: ``rootfs`` is replaced, missing ``history`` entries and times are filled in, ``created`` is the
last time of the history where the frontend gave none, SOURCE_DATE_EPOCH is the latest time that may occur (what comes
from the base image keeps its times). Unknown keys are kept. Encoding: compact, top-level keys sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass
from llbkit.worker.content.archive import compact
from llbkit.worker.content.provider import read_json
from llbkit.worker.exporters.base import ExportError
from llbkit.worker.exporters.image import rfc3339

COMMENT = "buildkit.exporter.image.v0"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HISTORY_KEYS = ("created", "created_by", "author", "comment", "empty_layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """What a layer contributes to the config. ``created`` is in nanoseconds since 1970, None if unknown.

    Of a layer that an image brought, only that image's history tells what made it, and when. Another image may have the
    same layer and another history; so what is not in the history is not looked for elsewhere.
    """

    diff_id: str
    description: str
    created: int | None


def image_config(
    config: bytes | None,
    platform: Platform,
    layers: Sequence[LayerFacts],
    *,
    epoch: int | None = None,
    base_config: bytes | None = None,
) -> bytes:
    """Return the config bytes to store. ``epoch`` is in seconds.

    Raises:
        ExportError: the given config is not JSON or lacks os or architecture.
    """
    value = read_json("the image config", config) if config is not None else default_config(platform)
    if not value.get("os") or not value.get("architecture"):
        raise ExportError("image config without os or architecture", help="the frontend must set both")
    clamp = None if epoch is None else epoch * 1_000_000_000
    history = complete_history(value.get("history") or [], layers, unknown=clamp)
    if clamp is not None:
        kept = _shared_prefix(history, base_config)
        history = history[:kept] + [_clamped(entry, clamp) for entry in history[kept:]]
    value["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    value["history"] = [{key: entry[key] for key in _HISTORY_KEYS if entry.get(key)} for entry in history]
    times = [entry["created"] for entry in history if entry.get("created")]
    if not value.get("created"):
        value |= {"created": times[-1]} if times else {}
    elif clamp is not None:
        value["created"] = _earlier(value["created"], clamp)
    return compact(dict(sorted(value.items())))


def default_config(platform: Platform) -> dict[str, Any]:
    """Return the config of a result whose frontend gave none."""
    value: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        value["variant"] = platform.variant
    inner: dict[str, Any] = {}
    if platform.os != "windows":
        inner["Env"] = [f"PATH={DEFAULT_PATH}"]
    inner["WorkingDir"] = "/"
    value["config"] = inner
    return value


def complete_history(
    history: Sequence[Mapping[str, Any]], layers: Sequence[LayerFacts], *, unknown: int | None = None
) -> list[dict[str, Any]]:
    """Return a history with one non-empty entry for each layer, and a time in every entry where one is known.

    ``unknown`` is the time of layers whose time is not known, in nanoseconds; None: that of their neighbours.
    """
    entries = [dict(entry) for entry in history]
    for entry in entries:
        if entry.get("created"):
            entry["created"] = rfc3339.normal(str(entry["created"]))
    full = [entry for entry in entries if not entry.get("empty_layer")]
    for entry in full[len(layers) :]:
        entry["empty_layer"] = True
    entries += [{"created_by": layer.description, "comment": COMMENT} for layer in layers[len(full) :]]
    facts = iter(layers)
    for entry in entries:
        if not entry.get("empty_layer"):
            layer = next(facts)
            then = unknown if layer.created is None else layer.created
            if not entry.get("created") and then is not None:
                entry["created"] = rfc3339.write(then)
    _fill_times(entries)
    return entries


def _fill_times(entries: list[dict[str, Any]]) -> None:
    """Give entries without a time that of the entry before; the first ones that of the first new layer."""
    current, gap = None, False
    for entry in entries:
        if entry.get("created"):
            current = entry["created"]
            if gap:
                break
        else:
            gap = True
    gap = False
    for entry in entries:
        if entry.get("created"):
            if gap:
                current = entry["created"]
        else:
            gap = True
            if current is not None:
                entry["created"] = current


def _shared_prefix(history: Sequence[Mapping[str, Any]], base_config: bytes | None) -> int:
    if base_config is None:
        return 0
    base = read_json("the base image's config", base_config).get("history") or []
    count = 0
    for own, other in zip(history, base, strict=False):
        theirs = dict(other)
        if theirs.get("created"):
            theirs["created"] = rfc3339.normal(str(theirs["created"]))
        if any((own.get(key) or None) != (theirs.get(key) or None) for key in _HISTORY_KEYS):
            break  # an entry that the base has without a time was filled in: it is not the base's any more
        count += 1
    return count


def _clamped(entry: dict[str, Any], clamp: int) -> dict[str, Any]:
    return {**entry, "created": _earlier(entry.get("created"), clamp)}


def _earlier(text: object, clamp: int) -> str:
    then = rfc3339.parse(str(text)) if text else None
    return rfc3339.write(clamp) if then is None or then > clamp else str(text)
