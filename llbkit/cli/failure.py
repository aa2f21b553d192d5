# SPDX-License-Identifier: Apache-2.0
"""Turns every failure into one screen of text and an exit code. Nothing else in the product renders errors."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from grammar import Diagnostic, DiagnosticError, render_all
from llbkit.cli.process import output_is_closed

if TYPE_CHECKING:
    from solver.errors import VertexError

FAILED, USAGE, ENVIRONMENT, INTERRUPTED = 1, 2, 3, 130
_MOST = 12  # lines of help and messages beyond which the rest is counted, not shown


def explain(error: BaseException) -> tuple[str, int]:
    """Return the text for a user (several lines, no line end) and the exit code."""
    error = _unwrap(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ in ("CancelledError", "Abort"):
        return "interrupted: nothing was exported; finished steps stay cached", INTERRUPTED
    if isinstance(error, DiagnosticError):
        return render_all(error.diagnostics), FAILED
    for handler in (_known, _system):
        if (text := handler(error)) is not None:
            return text
    return (
        _plain(
            f"internal error: {type(error).__name__}: {error}",
            "this is a bug in llbkit; run again with --debug and report the traceback",
        ),
        FAILED,
    )


def _known(error: BaseException) -> tuple[str, int] | None:
    import sqlite3

    from frontends.base import ResolveError
    from llb.errors import LLBError
    from llbkit.config import ConfigError
    from llbkit.csvflags import FlagError
    from solver.errors import VertexError
    from worker.base import EnvironmentLackError, WorkerError
    from worker.metadata import help_for

    match error:
        case VertexError():
            return _vertex(error)
        case EnvironmentLackError():
            return _plain(str(error), error.help), ENVIRONMENT
        case WorkerError():
            return _plain(str(error), error.help), ENVIRONMENT if _forbidden(error.__cause__) else FAILED
        case ResolveError():
            return _plain(str(error), getattr(error, "help", "")), FAILED
        case LLBError():
            return _plain(str(error), _mended(error)), FAILED
        case FlagError():
            return _plain(str(error), error.help), USAGE
        case ConfigError():
            return _plain(str(error), ""), USAGE
        case sqlite3.Error() if (advice := help_for(error)) is not None:
            return _plain(f"{error}: the state directory cannot be used", advice), FAILED
        case _:
            return None


def _mended(error: BaseException) -> str:
    from llb.errors import DefinitionError

    return "regenerate the graph" if isinstance(error, DefinitionError) else ""


def _vertex(error: VertexError) -> tuple[str, int]:
    from llbkit.cli.cause import find_cause, last_lines
    from worker.base import EnvironmentLackError, ExecError, WorkerError

    cause = _unwrap(error.cause)
    output: list[str] = []
    if isinstance(cause, ExecError):
        # The command is in the snippet below, and the whole of it in the progress display.
        reason = str(cause).rpartition("did not complete successfully: ")[2]
        message, hint = f"{_place_of(error.name)} did not complete successfully: {reason}", cause.help
        output = last_lines(cause.output)
    elif isinstance(cause, WorkerError):
        message, hint = str(cause), cause.help
    else:
        text, _ = explain(cause)
        message, _, hint = text.removeprefix("error: ").partition("\n  help: ")
    diagnostic = Diagnostic(
        code="",
        message=f"failed to solve: {message}",
        spans=find_cause(error.spans, [*reversed(output), message]),
        help=hint,
    )
    lines = [diagnostic.render()]
    if not error.spans:
        lines.insert(0, f"step: {error.name}")
    if output:
        lines += ["last output:", *(f"  {line}" for line in output)]
    return "\n".join(lines), ENVIRONMENT if isinstance(cause, EnvironmentLackError) else FAILED


def _place_of(name: str) -> str:
    """Return how a step is named without its command: ``[build 2/3]``; its whole name if it has no such place."""
    place, bracket, _ = name.partition("] ")
    return place + "]" if bracket and place.startswith("[") else name


def _system(error: BaseException) -> tuple[str, int] | None:
    if not isinstance(error, OSError):
        return None
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    text = f"{error.strerror or error}{where}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return _plain(text, "free space with `llbkit prune`, or choose another --root"), FAILED
        case errno.EACCES | errno.EPERM:
            return _plain(
                text, "run as root, or choose a --root you may write; `llbkit doctor` says more"
            ), ENVIRONMENT
        case errno.EROFS:
            return _plain(text, "choose a --root on a writable filesystem"), ENVIRONMENT
        case errno.EBADF if output_is_closed():
            return _plain("standard output is closed", "redirect it, or write to a file with dest="), FAILED
        case errno.EPIPE:
            return _plain("the reader of the output went away", ""), FAILED
        case _:
            return _plain(text, ""), FAILED


def _forbidden(error: BaseException | None) -> bool:
    """Tell whether the host refused: another user, or another place, would succeed with the same build."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def _plain(message: str, hint: str) -> str:
    lines = message.splitlines() or [""]
    if len(lines) > _MOST:
        lines = [*lines[:_MOST], f"... {len(lines) - _MOST} more lines"]
    out = "error: " + "\n".join(lines)
    return out + ("\n" + "\n".join(f"  help: {line}" for line in hint.splitlines()) if hint else "")


def _unwrap(error: BaseException) -> BaseException:
    """Return the failure that matters of a group: the first that is not a cancellation."""
    while isinstance(error, BaseExceptionGroup):
        inner = [e for e in error.exceptions if type(e).__name__ != "CancelledError"] or list(
            error.exceptions
        )
        error = inner[0]
    return error
