# SPDX-License-Identifier: Apache-2.0
"""Subrequests: what a frontend answers instead of building (option ``requestid``).

Answers are metadata alone: ``result.json``, ``result.txt`` and ``version``, in the shapes of BuildKit's
``frontend/subrequests``. Nothing is executed for one but what the program is read from.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from llbkit.frontends import answers
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.errors.suggest import suggest
from llbkit.frontends.kit.golang.json import go_json
from llbkit.frontends.kit.subrequests.outline import TargetFact, TargetOutline
from llbkit.grammar import Diagnostic, DiagnosticError, Source, render_all
from llbkit.llb.builder.options import SourceText
from llbkit.llb.builder.state import State
from llbkit.llb.ir.graph import Graph
from llbkit.records import dataclass

LINT = "frontend.lint"
OUTLINE = "frontend.outline"
TARGETS = "frontend.targets"
CONVERT = "frontend.convertllb"
DESCRIBE = "frontend.subrequests.describe"
_CAPS = tuple(
    f"moby.buildkit.frontend.{name}" for name in ("inputs", "subrequests", "contexts", "gitquerystring")
)
KNOWN = (OUTLINE, TARGETS, LINT, CONVERT, DESCRIBE)
_VERSION, _CONVERT_VERSION = "1.0.0", "0.1.0"

Json = Mapping[str, object]


def check_caps(wanted: str) -> None:
    """Raise a ProgramError if a client needs what this frontend cannot do.

    ``wanted`` is a list of capabilities; what follows a ``+`` is meant for the caller that chooses the frontend.
    """
    for cap in wanted.split(",") if wanted else ():
        name = cap.partition("+")[0]
        if name not in _CAPS:
            raise errors.option(
                f"unsupported frontend capability {name}", f"supported capabilities: {', '.join(_CAPS)}"
            )


def check_id(request: str) -> None:
    """Raise a ProgramError if a request is not answered."""
    if request not in KNOWN:
        close = suggest(request, KNOWN)
        hint = f"write {close}" if close else "supported requests: " + ", ".join(KNOWN)
        raise errors.option(f"unsupported request {request}", hint)


@dataclass(frozen=True, slots=True)
class _About:
    name: str
    description: str
    opts: tuple[tuple[str, str], ...] | None = ()

    def row(self) -> Json:
        """Return the entry of `DESCRIBE`."""
        opts = None if self.opts is None else [{"name": name, "description": d} for name, d in self.opts]
        return {
            "name": self.name,
            "version": _VERSION,
            "type": "rpc",
            "description": self.description,
            "opts": opts,
            "inputs": None,
            "metadata": [{"name": name, "description": ""} for name in ("result.json", "result.txt")],
            "refs": None,
        }


_ABOUT = (
    _About(OUTLINE, "List all parameters current build target supports", (("target", "Target build stage"),)),
    _About(TARGETS, "List all targets current build supports"),
    _About(DESCRIBE, "List available subrequest types", None),
)
"""What BuildKit lists; the others are answered all the same."""


def describe() -> Mapping[str, bytes]:
    """Return the answer to `DESCRIBE`."""
    rows = [about.row() for about in _ABOUT]
    return _answer(rows, answers.describe_text(rows))


def targets(facts: Iterable[TargetFact], sources: Sequence[Source]) -> Mapping[str, bytes]:
    """Return the answer to `TARGETS`: every target in order; ``sources`` are the program's texts, the main one first."""
    rows = [
        {
            **_filled(
                name=fact.name,
                default=fact.default,
                description=fact.description,
                base=fact.base,
                platform=fact.platform,
            ),
            "location": _location(sources, fact.place),
        }
        for fact in facts
    ]
    value = {"targets": rows or None, "sources": list(map(_base64, sources))}
    return _answer(value, answers.targets_text(value))


def outline(target: TargetOutline, sources: Sequence[Source]) -> Mapping[str, bytes]:
    """Return the answer to `OUTLINE` for a target; ``sources`` as for `targets`."""
    summary = target.summary
    args = [
        {
            "name": fact.name,
            **_filled(description=fact.description, value=fact.value),
            "location": _location(sources, fact.place),
        }
        for fact in summary.args
    ]
    mounts = [
        [
            {"name": fact.name, **_filled(required=fact.required), "location": _location(sources, fact.place)}
            for fact in facts
        ]
        for facts in (summary.secrets, summary.agents)
    ]
    value = _filled(
        name=target.name,
        description=target.description,
        args=args,
        secrets=mounts[0],
        ssh=mounts[1],
        sources=list(map(_base64, sources)),
    )
    return _answer(value, answers.outline_text(value))


def lint(
    warnings: Sequence[Diagnostic],
    texts: Sequence[SourceText],
    error: DiagnosticError | None,
    notes: Sequence[Diagnostic] = (),
) -> Mapping[str, bytes]:
    """Return the answer to `LINT`, whose status code is 1 if there is anything to say.

    ``texts`` are the program's, the main one first. The shape has room for one error. All of them, and ``notes`` that BuildKit
    would not make, are in ``result.errors`` as text, which clients of BuildKit's do not look at.
    """
    from llbkit.llb.wire.readable import definition_json

    sources = [text.source for text in texts]
    rows = [
        {
            "ruleName": one.code,
            **_filled(description=one.detail, url=one.rule_url, detail=one.message),
            "location": _location(sources, *(Place.covering(span) for span in one.spans)),
        }
        for one in warnings
    ]
    shown = [
        _filled(
            filename=text.source.name,
            data=_base64(text.source),
            definition=definition_json((text.state or State()).graph()),
            language=text.source.language,
        )
        for text in texts
    ]
    value: dict[str, object] = {"warnings": rows or None, "sources": shown}
    if error is not None:
        value["buildError"] = {
            "message": error.diagnostics[0].message,
            "location": _error_location(sources, error),
        }
    status = b"1" if warnings or error is not None else b"0"
    answer = {**_answer(value, answers.lint_text(value)), "result.statuscode": status}
    problems = [*(error.diagnostics if error is not None else ()), *notes]
    if problems:
        answer["result.errors"] = render_all(problems).encode("utf-8", "replace")
    return answer


def convert(graph: Graph) -> Mapping[str, bytes]:
    """Return the answer to `CONVERT`: the ops of a graph in protobuf's JSON, their metadata and locations."""
    from llbkit.llb.wire.readable import converted_json

    value = converted_json(graph)
    return {"result.json": go_json(value, indent=2), "version": _CONVERT_VERSION.encode()}


def _error_location(sources: Sequence[Source], error: DiagnosticError) -> Json:
    if isinstance(error, ProgramError):
        return _location(sources, *error.locations)
    # The parser's own errors have a place always; that of a directive on the first line is line 0.
    spans = error.diagnostics[0].spans
    return _location(sources, *map(Place.covering, spans)) or {"ranges": [{"start": {}, "end": {}}]}


def _location(sources: Sequence[Source], *places: Place) -> Json:
    """Return the lines of places in one source; of a source that is not listed, as if they were in the first."""
    ranges = [
        {"start": {"line": first}, "end": {"line": last}} for place in places for first, last in place.lines
    ]
    span = places[0].span if places else None
    index = next((n for n, source in enumerate(sources) if span is not None and source is span.source), 0)
    return _filled(sourceIndex=index, ranges=ranges)


def _base64(source: Source) -> str:
    return base64.b64encode(source.data).decode()


def _filled(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value}


def _answer(value: object, text: str) -> dict[str, bytes]:
    return {
        "result.json": go_json(value, indent=2),
        "result.txt": text.encode("utf-8", "replace"),
        "version": _VERSION.encode(),
    }
