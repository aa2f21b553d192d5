# SPDX-License-Identifier: Apache-2.0
"""Run the text parts of the reference vectors: ``ast``, ``shell`` and ``dockerignore``.

Each runner takes the decoded cases of one file and returns the differences, one readable line or block each;
an empty list means that all cases agree.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from llbkit.frontends.dockerfile.program.words import Expansion, Mode, WordError, environment, expand
from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.grammar import DiagnosticError, Source
from llbkit.grammar.patterns.match import PatternError, PatternMatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Case = dict[str, Any]


def run_dockerignore(cases: Iterable[Case]) -> list[str]:
    """Check reading, compiling and both ways of matching."""
    return [line for case in cases for line in _compare(case["name"], _ignore_outcome(case), case)]


def _ignore_outcome(case: Case) -> Case:
    outcome: Case = {}
    patterns = case.get("patterns", [])
    try:
        if "dockerignore" in case:
            patterns = outcome["read_patterns"] = read_patterns(case["dockerignore"])
    except PatternError as error:
        return {"read_error": str(error)}
    try:
        matcher = PatternMatcher(patterns)
    except PatternError as error:
        return outcome | {"error": str(error)}
    return outcome | {
        "has_exclusions": matcher.has_exclusions,
        "compiled_patterns": [str(pattern) for pattern in matcher.patterns],
        "results": [_ignore_result(matcher, path) for path in case.get("paths", [])],
    }


def _ignore_result(matcher: PatternMatcher, path: str) -> Case:
    result: Case = {"path": path}
    try:
        result["ignored"] = matcher.matches_or_parent(path)
    except PatternError as error:
        return result | {"error": str(error)}
    try:
        result["walk_ignored"] = _walk(matcher, path)
    except PatternError as error:
        result["walk_error"] = str(error)
    return result


def _walk(matcher: PatternMatcher, path: str) -> bool:
    """Ask as a walk from the root down to ``path`` does."""
    state = None
    root = "/" if path.startswith("/") else ""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for count in range(1, len(parts) + 1) or [0]:
        walked = root + "/".join(parts[:count]) or "."
        state = matcher.walk(walked, state)
    return state is not None and state.ignored


def run_shell(cases: Iterable[Case]) -> list[str]:
    """Check the expansion of words in every recorded mode."""
    return [line for case in cases for run in case["runs"] for line in _shell_differences(case, run)]


def _shell_differences(case: Case, run: Case) -> Iterator[str]:
    seen = Expansion()
    word: Case = {}
    words: Case = {}
    try:
        expand(case["word"], environment(case["env"]), Mode(**run["mode"]), seen=seen)
        word["result"], words["words"] = seen.text, list(seen.words)
    except WordError as error:
        word["error"] = words["error"] = str(error)
    word["matched"], word["unmatched"] = sorted(seen.matched), sorted(seen.unmatched)
    mode = json.dumps(run["mode"])
    yield from _compare(f"{case['name']} {mode} process_word", word, run["process_word"])
    yield from _compare(f"{case['name']} {mode} process_words", words, run["process_words"])


def run_ast(cases: Iterable[Case]) -> list[str]:
    """Check trees, warnings, directives and the errors of parsing."""
    return [line for case in cases for line in _compare(case["name"], _ast_outcome(case["text"]), case)]


def _ast_outcome(text: str) -> Case:
    source = Source("Dockerfile", text)
    try:
        file = parse(source)
    except DiagnosticError as error:
        diagnostic = error.diagnostics[0]
        lines = [[span.start_line, span.end_line] for span in diagnostic.spans] or [[0, 0]]
        return {"error": {"text": diagnostic.message, "locations": [lines]}}
    found = dict(file.directives)
    syntax = detect_syntax(source)
    if syntax is not None:
        found["syntax"] = syntax
    return {
        "escape": file.escape,
        "dump": file.dump(),
        "start_line": file.start_line,
        "end_line": file.end_line,
        "nodes": [_node(node) for node in file.nodes],
        "warnings": _warnings(file),
        "directives": {
            name: {"value": each.value, "first_word": each.first_word, "line": each.line}
            for name, each in found.items()
        },
    }


def _warnings(file: ParsedFile) -> list[Case]:
    return [
        {"short": each.short, "detail": list(each.detail), "url": each.url, "lines": list(each.lines)}
        for each in file.warnings
    ]


def _node(node: Node) -> Case:
    """Return a node as the vectors write it: what is empty is left out, tokens excepted."""
    shown: Case = {
        "value": node.value,
        "start_line": node.start_line,
        "end_line": node.end_line,
        "original": node.original,
        "flags": list(node.flags),
        "attributes": node.attributes,
        "prev_comment": list(node.prev_comment),
        "heredocs": [
            {
                "name": each.name,
                "fd": each.fd,
                "expand": each.expand,
                "chomp": each.chomp,
                "content": each.content,
            }
            for each in node.heredocs
        ],
    }
    tokens = [token if isinstance(token, str) else {"children": [_node(token)]} for token in node.tokens]
    return {key: value for key, value in shown.items() if value} | {"tokens": tokens}


def _compare(name: str, actual: Case, expected: Case) -> Iterator[str]:
    """Compare what was computed, and what was recorded but not computed; an absent value is an empty one."""
    for key in dict.fromkeys((*actual, *(key for key in expected if key in _OUTCOMES))):
        if (actual.get(key) or None) != (expected.get(key) or None):
            yield f"{name}: {key}\n{_difference(expected.get(key), actual.get(key))}"


_OUTCOMES = frozenset(
    [
        "read_error",
        "read_patterns",
        "error",
        "has_exclusions",
        "compiled_patterns",
        "results",
        "result",
        "words",
        "matched",
        "unmatched",
        "escape",
        "dump",
        "start_line",
        "end_line",
        "nodes",
        "warnings",
        "directives",
    ]
)


def _difference(expected: object, actual: object) -> str:
    left, right = (
        json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str).splitlines()
        for value in (expected, actual)
    )
    return "\n".join(difflib.unified_diff(left, right, "expected", "actual", lineterm="", n=2))


RUNNERS = {"ast": run_ast, "dockerignore": run_dockerignore, "shell": run_shell}
