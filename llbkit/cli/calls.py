# SPDX-License-Identifier: Apache-2.0
"""``llbkit build --call``: subrequests to a frontend, and the display of their results.

Texts are made of the JSON answer, as buildx makes them, since only the client knows where the Dockerfile lies.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llbkit.frontends import answers
from llbkit.grammar import nearest
from llbkit.records import dataclass
from llbkit.request.csvflags import FlagError, boolean, fields, pairs
from llbkit.request.values import BuildOutcome

_REQUESTS = {
    "build": "",
    "check": "frontend.lint",
    "lint": "frontend.lint",
    "outline": "frontend.outline",
    "targets": "frontend.targets",
    "convertllb": "frontend.convertllb",
    "subrequests.describe": "frontend.subrequests.describe",
}
_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "frontend.outline": answers.outline_text,
    "frontend.targets": answers.targets_text,
    "frontend.subrequests.describe": answers.describe_text,
}


@dataclass(frozen=True, slots=True)
class Call:
    """A ``--call`` value. ``request`` "" builds; ``ignore_status`` succeeds also if something was found."""

    request: str
    json: bool = False
    ignore_status: bool = False

    @classmethod
    def parse(cls, text: str) -> Call:
        """Read ``method[,format=json|text][,ignorestatus=true]``.

        Raises:
            FlagError: the method or an option is unknown.
        """
        method, *rest = fields("--call", text)
        if method not in _REQUESTS:
            close = nearest(method, _REQUESTS)
            known = "valid methods: " + ", ".join(_REQUESTS)
            hint = f"did you mean {close}? {known}" if close else known
            raise FlagError(f"--call: unknown method {method!r}", help=hint)
        options = pairs("--call", rest, bare=("ignorestatus",))
        form = options.pop("format", "text")
        if form not in ("json", "text", ""):
            raise FlagError(f"--call: unknown format {form!r}", help="valid formats: json, text")
        ignored = boolean("--call", "ignorestatus", options.pop("ignorestatus", "false"))
        if options:
            raise FlagError(
                f"--call: unknown option {min(options)!r}", help="valid options: format, ignorestatus"
            )
        return cls(_REQUESTS[method], form == "json", ignored)


def show(call: Call, outcome: BuildOutcome, dockerfile: Path | None) -> int:
    """Print an answer and return the exit code; ``dockerfile`` is the file's path, if it is one here.

    Raises:
        FlagError: the frontend answered nothing.
    """
    found = outcome.metadata
    if "result.json" not in found and (call.json or "result.txt" not in found):
        raise FlagError(f"the frontend returned no {'JSON' if call.json else 'text'} answer to this call")
    if call.json:
        _print(found["result.json"].decode("utf-8", "replace"))
    elif call.request == "frontend.lint" and "result.json" in found:
        _print(_lint(json.loads(found["result.json"]), dockerfile))
    elif call.request in _TEXTS and "result.json" in found:
        _print(_TEXTS[call.request](json.loads(found["result.json"])))
    else:
        _print(found.get("result.txt", found.get("result.json", b"")).decode("utf-8", "replace"))
    if problems := found.get("result.errors"):
        sys.stderr.write(problems.decode("utf-8", "replace") + "\n")
    return 0 if call.ignore_status else int(found.get("result.statuscode", b"0") or b"0")


def _lint(answer: Mapping[str, Any], dockerfile: Path | None) -> str:
    def shown(name: str) -> str:
        return os.path.relpath(dockerfile.parent / name) if dockerfile is not None else name

    summary = answers.lint_summary(answer)
    text = answers.lint_text(answer, shown=shown)
    return f"{summary}\n{text}" if summary else text


def _print(text: str) -> None:
    sys.stdout.write(text if not text or text.endswith("\n") else text + "\n")
