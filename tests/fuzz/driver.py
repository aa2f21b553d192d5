# SPDX-License-Identifier: Apache-2.0
"""Code shared by the fuzzers: a deadline for each input, failures kept and reported once, a loop over seeds."""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CRASHES = Path("/tmp/llbkit-fuzz")


class HangError(Exception):
    """An input took too long."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise `HangError` in the block after so many seconds."""

    def stop(number: int, frame: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trace_of(work: Callable[[], object], seconds: int) -> str:
    """Do the work within the time; return the traceback of what it raised, "" if all is well."""
    try:
        with limited(seconds):
            work()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(error))
    return ""


class Crashes:
    """Keeps inputs that failed in a folder, one for each place in the code that they failed at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()

    def keep(self, data: bytes, trace: str, name: str = "") -> None:
        """Keep an input, and print its traceback, unless one like it was kept already."""
        places = "\n".join(line for line in trace.splitlines() if line.startswith("  File"))
        if places in self._seen:
            return
        self._seen.add(places)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / (name or hashlib.sha256(data).hexdigest()[:16])
        path.write_bytes(data)
        print(f"{path}\n{trace}", flush=True)


def options(program: str, about: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every fuzzer has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.fuzz.{program}", description=about.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--crashes", type=Path, default=CRASHES)
    return parser


def run_seeds(
    program: str, about: str, case: Callable[[random.Random], object], *, slow: int, memory: int
) -> int:
    """Run a fuzzer whose inputs are seeds, and return its exit status: 1 if something failed.

    Args:
        case: tries what a source of randomness decides; raises if something is wrong.
        slow: seconds after which a case counts as one that hangs.
        memory: bytes of address space that the process may take, beyond what it has at the start.
    """
    parser = options(program, about)
    parser.add_argument(
        "--cases", type=int, default=None, help="stop after so many; 1 repeats the case of a seed"
    )
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    crashes, failed, tried = Crashes(given.crashes), 0, 0
    started = time.monotonic()
    while tried != given.cases and time.monotonic() < started + given.seconds:
        one = seed + tried
        tried += 1
        trace = trace_of(lambda one=one: case(random.Random(one)), slow)
        if trace:
            failed += 1
            crashes.keep(f"--seed {one} --cases 1\n".encode(), trace, f"{program}-{one}")
    minutes = (time.monotonic() - started) / 60
    print(f"{tried} inputs in {minutes:.1f} minutes, {failed} failures")
    return bool(failed)
