# SPDX-License-Identifier: Apache-2.0
"""Explain why a vertex was executed, by comparing its ingredients with the nearest record.

Every record keeps the ingredients of its keys in readable form. A miss is explained by the record that differs least:
which argument, which variable, which file of which input. The comparison is pure and works on plain JSON values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from llbkit.records import dataclass
from llbkit.solver.ports import CacheStore, Json, Record

_LONGEST = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A vertex that was executed. ``key`` is its own key's digest; ``ignored`` says that the cache was bypassed."""

    digest: str
    name: str
    key: str
    ingredients: Mapping[str, Json]
    record_id: str | None = None
    ignored: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs. ``place`` says where (``env FOO``, ``input 1 (COPY . .), file /a``).

    ``before`` None means that it is new, ``after`` None that it is gone.
    """

    place: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.place} is new: {self.after}"
        if self.after is None:
            return f"{self.place} was removed: {self.before}"
        return f"{self.place} changed from {self.before} to {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a vertex was executed: ``reason`` in one sentence, with the ``differences`` to ``nearest`` if it has some."""

    miss: Miss
    reason: str
    nearest: Record | None = None
    differences: tuple[Difference, ...] = ()


def explain(miss: Miss, store: CacheStore) -> Explanation:
    """Return why a vertex was executed. Costs one query, and comparing a handful of records."""
    if miss.ignored:
        return Explanation(miss=miss, reason="the cache was ignored")
    if miss.lost:
        return Explanation(miss=miss, reason="its result is no longer stored")
    best: tuple[tuple[Difference, ...], Record] | None = None
    for record in store.nearest(miss.key, miss.name):
        if record.id == miss.record_id:
            continue
        found = differences(record.ingredients, miss.ingredients)
        if best is None or len(found) < len(best[0]):
            best = found, record
    if best is None:
        return Explanation(miss=miss, reason="no similar step was executed before")
    found, record = best
    if not found:
        reason = "an equal record exists, but is no longer linked from its inputs"
    elif len(found) == 1:
        reason = str(found[0])
    else:
        reason = f"{found[0]}, and {len(found) - 1} more"
    return Explanation(miss=miss, reason=reason, nearest=record, differences=found)


def differences(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Return how two records' ingredients differ: the op first, then the inputs in order."""
    found = list(_compare("", before.get("op"), after.get("op")))
    old, new = _entries(before), _entries(after)
    for number in range(max(len(old), len(new))):
        if number >= len(old):
            found.append(Difference(_input(number, new[number]), None, "absent"))
        elif number >= len(new):
            found.append(Difference(_input(number, old[number]), "present", None))
        else:
            found.extend(_compare_inputs(_input(number, new[number]), old[number], new[number]))
    return tuple(found)


def _entries(ingredients: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    inputs = ingredients.get("inputs")
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        return []
    return [item for item in inputs if isinstance(item, Mapping)]


def _input(number: int, entry: Mapping[str, Json]) -> str:
    return f"input {number} ({_short(entry.get('name')).strip(chr(34))})"


def _compare_inputs(place: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    if old.get("selector", "") != new.get("selector", ""):
        yield Difference(f"{place}, path", _short(old.get("selector", "")), _short(new.get("selector", "")))
        return
    if "content" in old and "content" in new:
        if old["content"] != new["content"]:
            parts = list(_compare(f"{place},", old.get("parts"), new.get("parts")))
            yield from parts or [
                Difference(f"{place}, content", _short(old["content"]), _short(new["content"]))
            ]
        return
    if not _keys(old) & _keys(new):
        if old.get("name") != new.get("name"):
            yield Difference(place, _short(old.get("name")), _short(new.get("name")))
        else:
            yield Difference(place, "one result", "another")


def _keys(entry: Mapping[str, Json]) -> frozenset[str]:
    keys = entry.get("keys")
    return frozenset(str(key) for key in keys) if isinstance(keys, Sequence) else frozenset()


def _compare(place: str, old: Json, new: Json) -> Iterator[Difference]:
    """Compare values: mappings by key, lists of ``NAME=VALUE`` by name, other lists of equal length by position."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _compare_mappings(place, old, new)
        return
    if (
        not isinstance(old, str)
        and not isinstance(new, str)
        and isinstance(old, Sequence)
        and isinstance(new, Sequence)
    ):
        if _assigns(old) and _assigns(new):
            yield from _compare_mappings(place, _assignments(old), _assignments(new))
            return
        if len(old) == len(new):
            for position, (left, right) in enumerate(zip(old, new, strict=True)):
                yield from _compare(f"{place}[{position}]", left, right)
            return
    yield Difference(place or "the op", _short(old), _short(new))


def _compare_mappings(place: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    for name in dict.fromkeys((*old, *new)):
        where = f"{place} {_WORDS.get(name, name)}".strip()
        if name not in old:
            yield from _one_sided(where, None, new[name])
        elif name not in new:
            yield from _one_sided(where, old[name], None)
        else:
            yield from _compare(where, old[name], new[name])


def _one_sided(place: str, old: Json, new: Json) -> Iterator[Difference]:
    yield Difference(place, None if old is None else _short(old), None if new is None else _short(new))


_WORDS = {"files": "file", "args": "argument", "mounts": "mount", "actions": "action"}


def _assigns(values: Sequence[Json]) -> bool:
    return all(isinstance(value, str) and "=" in value[1:] for value in values)


def _assignments(values: Sequence[Json]) -> dict[str, Json]:
    return {name: value for name, _, value in (str(item).partition("=") for item in values)}


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, default=list)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
