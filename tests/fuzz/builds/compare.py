# SPDX-License-Identifier: Apache-2.0
"""Compares what two engines made of one build: outcome, steps, warnings, index, config, layers, root file system."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields

from llbkit.records import dataclass
from tests.fuzz.builds.engines import Report, Vertex
from tests.fuzz.builds.messages import message_class
from tests.fuzz.builds.pictures import Image, Node, Picture, read_archive

_DIGEST = re.compile(r"@?sha256:[0-9a-f]{64}")
_PLATFORM = re.compile(r"^\[(?:linux|windows)/\S+ ")
_UNCOMPARED_STEPS = ("exporting ", "[auth]", "importing ", "resolve image config")


@dataclass(frozen=True)
class Difference:
    """One thing that the engines do not agree on: what kind of thing, where, and what each says of it."""

    kind: str
    place: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"{self.kind} {self.place}\n    theirs: {self.theirs}\n    ours:   {self.ours}"

    @property
    def signature(self) -> tuple[str, str, str]:
        """What differences with one cause probably share; by it a smaller case is known to show the same."""
        if self.kind in ("outcome", "message"):
            return self.kind, message_class(self.theirs), message_class(self.ours)
        if self.kind.startswith(("root", "config", "index")):
            shown = (
                (self.theirs, self.ours)
                if self.kind in ("root.kind", "root.mode", "root.entry")
                else ("", "")
            )
            return self.kind, *shown
        return self.kind, "", ""


def compare(theirs: Report, ours: Report, *, since: float, again: bool = False) -> list[Difference]:
    """Return the differences of one build.

    Args:
        theirs: the reference's report.
        ours: ours.
        since: when the first build of the run began: later times of files are taken for "now".
        again: whether both engines had built the case just before, so that what is cached is comparable.
    """
    if theirs.ok != ours.ok or theirs.code == -1 or ours.code == -1:
        said = ["succeeds" if one.ok else one.message for one in (theirs, ours)]
        return [Difference("outcome", "", *said)]
    found = list(_warnings(theirs, ours))
    if not theirs.ok:
        if message_class(theirs.message) != message_class(ours.message):
            found.append(Difference("message", "", theirs.message, ours.message))
        return found
    found += _steps(theirs, ours)
    if again:
        found += _cached(theirs, ours)
    assert theirs.archive is not None
    assert ours.archive is not None
    found += compare_pictures(read_archive(theirs.archive), read_archive(ours.archive), since)
    return found


def compare_pictures(theirs: Picture, ours: Picture, since: float) -> list[Difference]:
    """Return the differences of two archives."""
    found = list(_differing("index", _plain(theirs.index), _plain(ours.index)))
    mine = {image.platform: image for image in ours.images}
    for at, image in enumerate(theirs.images):
        other = mine.get(image.platform) or (ours.images[at] if at < len(ours.images) else None)
        if other is None:
            found.append(Difference("index.images", image.platform, "present", "absent"))
            continue
        found += _differing("manifest", _plain(image.manifest), _plain(other.manifest))
        found += _differing("config", _config(image.config, since), _config(other.config, since))
        found += _layers(image, other)
        found += compare_roots(image.root, other.root, since)
    return found


def compare_roots(theirs: Mapping[str, Node], ours: Mapping[str, Node], since: float) -> Iterator[Difference]:
    """Yield what differs between two file systems."""
    for path in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(path), ours.get(path)
        if one is None or other is None:
            yield Difference(
                "root.entry", path, one.kind if one else "absent", other.kind if other else "absent"
            )
        elif one.kind != other.kind:
            yield Difference("root.kind", path, one.kind, other.kind)
        else:
            yield from _nodes(path, one, other, since)
    groups = [_groups(root) for root in (theirs, ours)]
    for names in sorted(groups[0] ^ groups[1]):
        said = ["together" if names in group else "apart" for group in groups]
        yield Difference("root.hardlinks", " ".join(names), *said)


def _nodes(path: str, one: Node, other: Node, since: float) -> Iterator[Difference]:
    for field in fields(Node):
        mine, yours = getattr(one, field.name), getattr(other, field.name)
        if field.name == "mtime":
            mine, yours = (time if time < since else "now" for time in (mine, yours))
        elif field.name == "mode":
            mine, yours = oct(mine), oct(yours)
        if mine != yours:
            yield Difference(f"root.{field.name}", f"{path} ({one.kind})", str(mine), str(yours))


def _groups(root: Mapping[str, Node]) -> set[tuple[str, ...]]:
    by_node: dict[int, list[str]] = {}
    for path, node in root.items():
        by_node.setdefault(id(node), []).append(path)
    return {tuple(sorted(paths)) for paths in by_node.values() if len(paths) > 1}


def _layers(theirs: Image, ours: Image) -> Iterator[Difference]:
    if len(theirs.layers) != len(ours.layers):
        yield Difference("layers.count", "", str(len(theirs.layers)), str(len(ours.layers)))
        return
    for at, (one, other) in enumerate(zip(theirs.layers, ours.layers, strict=True)):
        for path in sorted(one.keys() | other.keys()):
            if one.get(path) != other.get(path):
                kinds = [f" ({root[path].kind})" for root in (theirs.root, ours.root) if path in root]
                place = f"{at}: {path}{kinds[0] if kinds else ''}"
                yield Difference("layers.names", place, one.get(path, "absent"), other.get(path, "absent"))


def _config(config: dict, since: float) -> dict:
    """Return a config without digests, with times that are the build's own replaced."""
    plain = {key: value for key, value in config.items() if key != "rootfs"}
    plain["created"] = _moment(config.get("created"), since)
    plain["history"] = [
        {**one, "created": _moment(one.get("created"), since)} for one in config.get("history") or ()
    ]
    return plain


def _moment(text: str | None, since: float) -> str | None:
    if text is None:
        return None
    year = 1970 + int(since // 31_556_952)
    return "now" if text[:4].isdigit() and int(text[:4]) >= year else text


def _plain(value: object) -> object:
    """Return a JSON value without digests, sizes and creation times."""
    if isinstance(value, dict):
        uncompared = ("digest", "size", "org.opencontainers.image.created", "config.digest")
        return {key: _plain(one) for key, one in value.items() if key not in uncompared}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _differing(kind: str, theirs: object, ours: object, place: str = "") -> Iterator[Difference]:
    if theirs == ours:
        return
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _differing(
                f"{kind}.{key}" if not place else kind, theirs.get(key, _ABSENT), ours.get(key, _ABSENT), key
            )
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differing(kind, one, other, f"{place}[{at}]")
    else:
        yield Difference(kind, place, _shown(theirs), _shown(ours))


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _shown(value: object) -> str:
    return (
        "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False, sort_keys=True, default=repr)
    )


def _steps(theirs: Report, ours: Report) -> Iterator[Difference]:
    names = [
        Counter(
            name
            for vertex in report.vertexes.values()
            for name in _plain_names(vertex)
            if not vertex.name.startswith(_UNCOMPARED_STEPS)
        )
        for report in (theirs, ours)
    ]
    for name in sorted(names[0].keys() | names[1].keys()):
        if names[0][name] != names[1][name]:
            yield Difference("steps", name, f"{names[0][name]} times", f"{names[1][name]} times")


def _plain_names(vertex: Vertex) -> list[str]:
    """Return a step's name without digests, and without the platform: steps that platforms share bear either's.

    Steps that a pass of ours made one have their names joined.
    """
    joined = _DIGEST.sub("@DIGEST", vertex.name)
    return [_PLATFORM.sub("[PLATFORM ", name) for name in re.split(r" \+ (?=\[)", joined)]


def _cached(theirs: Report, ours: Report) -> Iterator[Difference]:
    sides = []
    for report in (theirs, ours):
        cached: dict[str, bool] = {}
        for vertex in report.vertexes.values():
            if vertex.source:
                continue  # what depends on nothing is asked for each time; only ours says CACHED if nothing was new
            if not vertex.name.startswith((*_UNCOMPARED_STEPS, "[internal]")) and "FROM " not in vertex.name:
                for name in _plain_names(vertex)[-1:]:  # joined steps run if one of them must
                    cached[name] = cached.get(name, True) and (vertex.cached or not vertex.started)
        sides.append(cached)
    for name in sorted(sides[0].keys() & sides[1].keys()):
        if sides[0][name] != sides[1][name]:
            said = ["CACHED" if side[name] else "runs" for side in sides]
            yield Difference("cached", name, *said)


def _warnings(theirs: Report, ours: Report) -> Iterator[Difference]:
    sides = [Counter(report.warnings) for report in (theirs, ours)]
    for text in sorted(sides[0].keys() | sides[1].keys()):
        if sides[0][text] != sides[1][text]:
            kind = "warnings" if theirs.ok else "warnings.failing"
            yield Difference(kind, text, f"{sides[0][text]} times", f"{sides[1][text]} times")
