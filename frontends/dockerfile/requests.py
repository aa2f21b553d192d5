# SPDX-License-Identifier: Apache-2.0
"""Subrequests: what a frontend answers instead of building (option ``requestid``).

``frontend.lint`` returns the build checks' findings, ``frontend.targets`` the stages, ``frontend.subrequests.describe``
what there is to ask. Answers are metadata alone: ``result.json``, ``result.txt`` and ``version``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence

from frontends.dockerfile import errors
from frontends.dockerfile.instructions import Program
from grammar import Diagnostic, Source, Span

LINT = "frontend.lint"
TARGETS = "frontend.targets"
DESCRIBE = "frontend.subrequests.describe"
_VERSION = "1.0.0"
_ABOUT = {
    LINT: "Run the build checks on a Dockerfile",
    TARGETS: "List the stages of a Dockerfile that can be built",
    DESCRIBE: "List the subrequests that are answered",
}
_CONTEXT = 2


def check_id(request: str) -> None:
    """Raise a DockerfileError if a request is not answered."""
    if request not in _ABOUT:
        raise errors.option(f"unsupported request {request}", "requests are " + ", ".join(sorted(_ABOUT)))


def describe() -> Mapping[str, bytes]:
    """Return the answer to `DESCRIBE`."""
    names = [{"name": name, "description": ""} for name in ("result.json", "result.txt")]
    rows = [
        {
            "name": name,
            "version": _VERSION,
            "type": "rpc",
            "description": about,
            "opts": None,
            "inputs": None,
            "metadata": names,
            "refs": None,
        }
        for name, about in sorted(_ABOUT.items())
    ]
    width = max(map(len, _ABOUT))
    lines = [f"{'NAME':<{width}}  VERSION  DESCRIPTION"]
    lines += [f"{name:<{width}}  {_VERSION}    {about}" for name, about in sorted(_ABOUT.items())]
    return _answer(rows, "\n".join(lines))


def targets(program: Program, source: Source) -> Mapping[str, bytes]:
    """Return the answer to `TARGETS`: every stage in order; the last is the default."""
    rows: list[dict[str, object]] = []
    for stage in program.stages:
        row: dict[str, object] = {"name": stage.name, "base": stage.base, "platform": stage.platform}
        row = {key: value for key, value in row.items() if value}
        if stage is program.stages[-1]:
            row["default"] = True
        rows.append({**row, "location": _location(stage.place.spans)})
    width = max(len("TARGET"), *(len(stage.name or "(default)") for stage in program.stages)) + len(
        " (default)"
    )
    lines = [f"{'TARGET':<{width}}  BASE"]
    for stage in program.stages:
        mark = f"{stage.name} (default)".lstrip() if stage is program.stages[-1] else stage.name
        lines.append(f"{mark or '-':<{width}}  {stage.base}")
    text = [base64.b64encode(source.data).decode()]
    return _answer({"targets": rows, "sources": text}, "\n".join(lines))


def lint(
    warnings: Sequence[Diagnostic], source: Source, error: errors.DockerfileError | None
) -> Mapping[str, bytes]:
    """Return the answer to `LINT`, whose status code is 1 if there is anything to say."""
    rows = [
        {
            "ruleName": one.code,
            "description": one.detail,
            **({"url": one.rule_url} if one.rule_url else {}),
            "detail": one.message,
            "location": _location(one.spans),
        }
        for one in warnings
    ]
    answer: dict[str, object] = {
        "warnings": rows or None,
        "sources": [
            {
                "filename": source.name,
                "data": base64.b64encode(source.data).decode(),
                "language": "Dockerfile",
            }
        ],
    }
    parts = [_count(len(warnings))]
    parts += [_shown(one) for one in sorted(warnings, key=_place)]
    if error is not None:
        problem = error.diagnostics[0]
        answer["buildError"] = {"message": str(error), "location": _location(problem.spans)}
        parts.append("\n" + problem.render())
    status = b"1" if warnings or error is not None else b"0"
    return {**_answer(answer, "\n".join(parts)), "result.statuscode": status}


def _count(number: int) -> str:
    match number:
        case 0:
            return "Check complete, no warnings found."
        case 1:
            return "Check complete, 1 warning has been found!"
    return f"Check complete, {number} warnings have been found!"


def _place(warning: Diagnostic) -> tuple[int, str]:
    return (warning.spans[0].start_line, "") if warning.spans else (0, warning.code)


def _shown(warning: Diagnostic) -> str:
    head = f"\nWARNING: {warning.code}" + (f" - {warning.rule_url}" if warning.rule_url else "")
    return "\n".join([head, warning.message, *_snippet(warning.spans)])


def _snippet(spans: Sequence[Span]) -> Iterable[str]:
    if not spans:
        return
    source = spans[0].source
    first, last = spans[0].start_line, max(span.end_line for span in spans)
    marked = {line for span in spans for line in range(span.start_line, span.end_line + 1)}
    yield f"{source.name}:{first}"
    yield "-" * 20
    end = source.line_count - (source.line(source.line_count) == "")
    for number in range(max(1, first - _CONTEXT), min(end, last + _CONTEXT) + 1):
        mark = ">>>" if number in marked else "   "
        yield f" {number:>3} | {mark} {source.line(number)}".rstrip()
    yield "-" * 20


def _location(spans: Sequence[Span]) -> Mapping[str, object]:
    ranges = [{"start": {"line": span.start_line}, "end": {"line": span.end_line}} for span in spans]
    return {"ranges": ranges} if ranges else {}


def _answer(value: object, text: str) -> dict[str, bytes]:
    return {
        "result.json": json.dumps(value, indent=2).encode(),
        "result.txt": (text + "\n").encode(),
        "version": _VERSION.encode(),
    }
