# SPDX-License-Identifier: Apache-2.0
"""Subrequests' answers as text, made of their JSON values: BuildKit's layout, whichever frontend answered.

A frontend puts these texts into ``result.txt``; a client that knows more, such as the path of a file that the frontend
knows by its name only, makes them again. Shapes: BuildKit's ``frontend/subrequests``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Value = Mapping[str, Any]
_RULE = "-" * 20
_LONGEST = 500  # characters of a line, more than fit on a screen


def _as_written(name: str) -> str:
    return name


def describe_text(requests: Sequence[Value]) -> str:
    """Return the answer to ``frontend.subrequests.describe``: a table of requests."""
    rows = [("NAME", "VERSION", "DESCRIPTION")]
    rows += [
        (item["name"].removeprefix("frontend."), item["version"], item["description"]) for item in requests
    ]
    return _table(rows, gap=1)


def targets_text(answer: Value) -> str:
    """Return the answer to ``frontend.targets``: a table of stages."""
    rows = [("TARGET", "DESCRIPTION")]
    for item in answer.get("targets") or ():
        name = item.get("name", "")
        if item.get("default"):
            name = f"{name} (default)".lstrip()
        rows.append((name, item.get("description", "")))
    return _table(rows, gap=1)


def outline_text(answer: Value) -> str:
    """Return the answer to ``frontend.outline``: the target, and a table for each kind of input that it takes."""
    out = []
    if name := answer.get("name"):
        head = [("TARGET:", name)]
        if description := answer.get("description"):
            head.append(("DESCRIPTION:", description))
        out.append(_table(head, gap=1))
    if args := answer.get("args"):
        rows = [("BUILD ARG", "VALUE", "DESCRIPTION")]
        rows += [(arg["name"], arg.get("value", ""), arg.get("description", "")) for arg in args]
        out.append(_table(rows, gap=3))
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if items := answer.get(key):
            pairs = [(title, "REQUIRED")]
            pairs += [(item["name"], "true" if item.get("required") else "") for item in items]
            out.append(_table(pairs, gap=3))
    return "".join(text + "\n" for text in out)


def lint_text(answer: Value, *, shown: Callable[[str], str] = _as_written) -> str:
    """Return the warnings of an answer to ``frontend.lint``, in the file's order; ``shown`` maps file names."""
    sources = [
        (shown(source["filename"]), _lines(source.get("data", ""))) for source in answer.get("sources") or ()
    ]
    return "".join(
        f"\nWARNING: {_title(item)}\n{item['detail']}\n{_snippet(sources, item['location'])}"
        for item in sorted(answer.get("warnings") or (), key=_order)
    )


def lint_summary(answer: Value) -> str:
    """Return how many warnings an answer to ``frontend.lint`` has; "" if an error is all there is to say."""
    match len(answer.get("warnings") or ()):
        case 0:
            return "" if answer.get("buildError") else "Check complete, no warnings found."
        case 1:
            return "Check complete, 1 warning has been found!"
        case count:
            return f"Check complete, {count} warnings have been found!"


def _title(warning: Value) -> str:
    url = warning.get("url", "")
    return str(warning["ruleName"]) + (f" - {url}" if url else "")


def _order(warning: Value) -> tuple[int, int, str]:
    location = warning["location"]
    ranges = location.get("ranges")
    if not ranges:
        return location.get("sourceIndex", 0), 0, warning["ruleName"]
    return location.get("sourceIndex", 0), ranges[0]["start"].get("line", 0), ""


def _lines(data: str) -> list[str]:
    """Return a source's lines as they are shown: without what goes on after `_LONGEST` characters."""
    lines = base64.b64decode(data).decode("utf-8", "replace").split("\n")
    return [line if len(line) <= _LONGEST else line[:_LONGEST] + "…" for line in lines]


def _snippet(sources: Sequence[tuple[str, list[str]]], location: Value) -> str:
    """Return the lines of a location, marked, with those around: two of a single line, else one."""
    ranges = location.get("ranges") or ()
    if not ranges:
        return ""
    name, lines = sources[location.get("sourceIndex", 0)]
    marked = {line for item in ranges for line in range(item["start"]["line"], item["end"]["line"] + 1)}
    first, last = min(marked), max(marked)
    around = 2 if first == last else 1
    numbers = range(max(1, first - around), min(len(lines), last + around) + 1)
    out = [f" {n:3} | {'>>>' if n in marked else '   '} {lines[n - 1]}" for n in numbers]
    return "\n".join([f"{name}:{first}", _RULE, *out, _RULE, ""])


def _table(rows: Iterable[Sequence[str]], *, gap: int) -> str:
    """Lay out rows: every cell but the last of a row is padded to its column's widest, and ``gap`` more."""
    table = list(rows)
    widths = [max(map(len, column)) + gap for column in zip(*table, strict=True)]
    return "".join(
        "".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)) + f"{row[-1]}\n"
        for row in table
    )
