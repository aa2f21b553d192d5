# SPDX-License-Identifier: Apache-2.0
"""Turn every failure into one screen of text and an exit code. Errors are rendered nowhere else."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llbkit.cli.process import output_is_closed
from llbkit.grammar import Diagnostic, DiagnosticError, render_all

if TYPE_CHECKING:
    from llbkit.solver.errors import VertexError

FAILED, USAGE, ENVIRONMENT, INTERRUPTED = 1, 2, 3, 130
_HOST_REFUSES = frozenset(
    (
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
        errno.EAGAIN,
    )
)  # fmt: skip
_NO_ROOM = re.compile("cannot allocate memory|failed to map segment|Unable to allocate", re.IGNORECASE)
"""What the dynamic loader and libraries say when memory is short."""
_MOST = 12  # lines of help and messages beyond which the rest is counted, not shown


def explain(error: BaseException) -> tuple[str, int]:
    """Return the text for a user (several lines, no line end) and the exit code."""
    error = _unwrap(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ in ("CancelledError", "Abort"):
        return "interrupted: nothing was exported; finished steps stay cached", INTERRUPTED
    if isinstance(error, DiagnosticError):
        return render_all(error.diagnostics), FAILED
    if (lack := next(filter(None, map(_limit, causes(error))), None)) is not None:
        return _plain(*lack), ENVIRONMENT
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

    from llbkit.config import ConfigError
    from llbkit.frontends.base import ResolveError
    from llbkit.llb.errors import LLBError
    from llbkit.request.csvflags import FlagError
    from llbkit.solver.errors import VertexError
    from llbkit.worker.base import EnvironmentLackError, WorkerError
    from llbkit.worker.state.metadata import help_for

    match error:
        case VertexError():
            return _vertex(error)
        case EnvironmentLackError():
            return _plain(str(error), error.help), ENVIRONMENT
        case WorkerError():
            return _plain(str(error), error.help), ENVIRONMENT if _host_refused(error.__cause__) else FAILED
        case ResolveError():
            return _plain(str(error), getattr(error, "help", "")), FAILED
        case LLBError():
            return _plain(str(error), _next_step(error)), FAILED
        case FlagError():
            return _plain(str(error), error.help), USAGE
        case ConfigError():
            return _plain(str(error), ""), USAGE
        case sqlite3.Error() if (advice := help_for(error)) is not None:
            return _plain(f"{error}: the state directory cannot be used", advice), ENVIRONMENT
        case _:
            return None


def _next_step(error: BaseException) -> str:
    from llbkit.llb.errors import DefinitionError

    return "regenerate the graph" if isinstance(error, DefinitionError) else ""


def _vertex(error: VertexError) -> tuple[str, int]:
    from llbkit.cli.cause import find_cause, last_lines
    from llbkit.worker.base import EnvironmentLackError, ExecError, WorkerError

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
    lacking = (
        isinstance(cause, EnvironmentLackError) or _host_refused(cause) or _host_refused(cause.__cause__)
    )
    return "\n".join(lines), ENVIRONMENT if lacking else FAILED


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
            return _plain(text, "free space with `llbkit prune`, or choose another --root"), ENVIRONMENT
        case errno.EACCES | errno.EPERM:
            return _plain(text, "run as root or choose a writable --root; see `llbkit doctor`"), ENVIRONMENT
        case errno.EROFS:
            return _plain(text, "choose a --root on a writable filesystem"), ENVIRONMENT
        case errno.ENOENT if not error.filename and not _has_directory():
            return _plain("the current directory has been removed", "change to an existing directory"), FAILED
        case errno.EBADF if output_is_closed():
            return _plain("standard output is closed", "redirect it or use dest=FILE"), FAILED
        case errno.EPIPE:
            return _plain("the reader of the output has gone away", ""), FAILED
        case _:
            return _plain(text, ""), FAILED


def _limit(error: BaseException) -> tuple[str, str] | None:
    """Return what to say, and what to do, if a limit of this process was reached."""
    text = str(error)
    code = error.errno if isinstance(error, OSError) else 0
    if code in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        return "too many open files", "raise the limit, for example with `ulimit -n 1024`"
    if "can't start new thread" in text:
        return (
            "cannot start more threads",
            "raise the limits of processes (`ulimit -u`) and memory (`ulimit -v`)",
        )
    if isinstance(error, MemoryError) or code == errno.ENOMEM or _NO_ROOM.search(text):
        return "not enough memory", "raise the limit (`ulimit -v`), or use a machine or container with more"
    return None


def _has_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _host_refused(error: BaseException | None) -> bool:
    """Return whether the host refused: with more rights, room or memory the same build would succeed."""
    return (
        isinstance(error, MemoryError)
        or type(error).__module__ == "sqlite3"
        or (isinstance(error, OSError) and error.errno in _HOST_REFUSES)
    )


def _plain(message: str, hint: str) -> str:
    lines = message.splitlines() or [""]
    if len(lines) > _MOST:
        lines = [*lines[:_MOST], f"... {len(lines) - _MOST} more lines"]
    out = "error: " + "\n".join(lines)
    return out + ("\n" + "\n".join(f"  help: {line}" for line in hint.splitlines()) if hint else "")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield a failure and all that led to it, through groups and causes."""
    pending = [error]
    while pending:
        one = pending.pop()
        yield one
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
        if one.__cause__ is not None:
            pending.append(one.__cause__)


def _unwrap(error: BaseException) -> BaseException:
    """Return the failure that matters of a group: the first that is not a cancellation."""
    while isinstance(error, BaseExceptionGroup):
        inner = [e for e in error.exceptions if type(e).__name__ != "CancelledError"] or list(
            error.exceptions
        )
        error = inner[0]
    return error
