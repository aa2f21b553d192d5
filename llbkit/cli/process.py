# SPDX-License-Identifier: Apache-2.0
"""Process setup: standard streams, SIGCHLD handling, signals.

SIGINT, SIGTERM and SIGHUP end a command in the same way: the first cancels what runs, so that containers are killed and
mounts and directories removed, and the exit code is 128 and the signal's number. The second ends the process whatever it
waits for; what is left then is removed by the warden of its containers and by the next start. A signal that the parent had
ignored stays ignored (``nohup``).
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from llbkit.progress.terminal import SafeStream

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ONE_SIGNAL = 0.5
"""Seconds within which further signals may be the same one: some senders signal the process and its group."""
_SHOW_CURSOR = b"\x1b[?25h\n"


class Signalled(KeyboardInterrupt):
    """The process was sent a signal that ends it."""


class Signals:
    """The signals of this process while `handled` lasts. Only the main thread can have them; others see none."""

    def __init__(self) -> None:
        self.received = 0
        self._cancel: Callable[[], object] | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that the received signal asks for."""
        return 128 + self.received

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Have signals end what runs in the context."""
        if (
            threading.current_thread() is not threading.main_thread()
        ):  # the program around us owns the signals
            yield
            return
        mine = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mine)
        self.received, self._cancel = 0, None
        before = {one: signal.signal(one, self._receive) for one in mine}
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        watch = threading.Thread(target=_watch, args=(reader,), name="llbkit-signals", daemon=True)
        with suppress(
            RuntimeError
        ):  # no more threads: the handlers alone do for all but a main thread that is stuck
            watch.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(writer)
            if watch.ident is not None:
                watch.join()

    @contextmanager
    def cancelling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Have the first signal call ``cancel``, on the main thread, instead of raising `Signalled` there."""
        if self.received:
            cancel()
        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            return  # the watching thread ends the process
        self.received = number
        if self._cancel is None:
            raise Signalled
        self._cancel()


signals = Signals()
"""Those of this process."""


def _watch(reader: int) -> None:
    """End the process at its second signal, whatever its main thread waits for. Ends when the pipe is closed."""
    first = 0.0
    while numbers := os.read(reader, 16):
        for number in numbers:
            if number not in _SIGNALS:
                continue
            if not first:
                first = time.monotonic()
                continue
            time.sleep(max(0.0, first + _ONE_SIGNAL - time.monotonic()))
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
    os.close(reader)


def adopt_streams() -> None:
    """Open the standard streams that the parent has closed, before other files take their numbers.

    There is nothing to be read, what goes to standard error is dropped, and writing to standard output fails: it is the
    result that somebody asked for.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextmanager
def safe_streams() -> Iterator[None]:
    """Have what is printed in the context pass `llbkit.progress.terminal.SafeStream`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(sys.stdout), SafeStream(sys.stderr)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        sys.stdout, sys.stderr = before


def flush_output() -> None:
    """Hand what was printed to the system, once: the interpreter would try again at its end.

    Raises:
        OSError: it cannot be delivered.
    """
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise


def output_is_closed() -> bool:
    """Return whether the parent gave no standard output."""
    return fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def adopt_children() -> None:
    """Have exit codes of children reported, should the parent have ignored SIGCHLD."""
    if threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    ):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
