# SPDX-License-Identifier: Apache-2.0
"""Build generated Dockerfiles with llbkit and with another engine, and compare everything that comes out.

    python -m tests.fuzz.builds --peer docker [--seconds N] [--count N] [--seed N] [--keep FOLDER] [CASE ...]

A case is a Dockerfile with a context, an ignore file, named contexts and options, and for many a change followed by a second
build. Compared are success and the class of errors, step names and counts, warnings, what is CACHED the second time, index,
config, history, the names in each layer, and each entry of the root file system. The reference is a dockerd of Debian's
unstable suite, started with state of its own; base images, files and a repository come from servers on loopback.

A difference is looked for again with empty caches, reduced to the smallest case that shows it, printed, and kept in the folder as
JSON, which can be named as a CASE later (as can SEED:NUMBER). `tests.fuzz.builds.explained` lists differences that are meant. Needs root; the exit status says
whether anything unexplained was found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.pool import AsyncResult, Pool
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from tests.fuzz.builds.case import Case
from tests.fuzz.builds.compare import Difference
from tests.fuzz.builds.engines import DockerRunner, LlbkitRunner
from tests.fuzz.builds.generate import generate
from tests.fuzz.builds.services import services
from tests.fuzz.builds.trial import Bench, Finding, try_case
from tests.support.dockerd import Dockerd

LACKS = {"docker": frozenset({"COPY --parents", "RUN --security", "ADD --unpack"})}
"""What a peer's frontend does not know: BuildKit 0.25 answers Dockerfiles as version 1.19 does."""
PROCESSES = 2
SLOW = 15
"""Seconds after which a case is told of."""

_bench: Bench


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.builds", description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=sorted(LACKS), required=True)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--count", type=int, default=None, help="how many cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument(
        "--keep", type=Path, default=Path("/tmp/llbkit-builds"), help="where cases that differ go"
    )
    parser.add_argument("--work", type=Path, default=None, help="where everything else goes")
    parser.add_argument("--no-reduce", action="store_true")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        work = given.work or Path(tempfile.mkdtemp(prefix="llbkit-builds-"))
        work.mkdir(parents=True, exist_ok=True)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        addresses = stack.enter_context(services(work, PROCESSES))
        seen = multiprocessing.get_context("fork").Manager().dict()
        benches = []
        for number, one in enumerate(addresses):
            daemon = Dockerd(work / f"docker{number}", registry=one["registry"].partition("/")[0])
            stack.callback(daemon.close)
            benches.append(
                Bench(
                    theirs=DockerRunner(daemon), ours=LlbkitRunner(work / f"state{number}"), services=one,
                    work=work / f"cases{number}", since=time.time() - 1, reducing=not given.no_reduce, seen=seen,
                )
            )  # fmt: skip
        cases = iter([named_case(name, LACKS[given.peer]) for name in given.cases]) if given.cases else _numbered(seed, given, LACKS[given.peer])  # fmt: skip
        print(f"seed {seed}", flush=True)
        return run(cases, benches, given.keep)


def named_case(name: str, lacks: frozenset[str]) -> Case:
    """Return the case of a file, or of ``SEED:NUMBER``."""
    seed, colon, number = name.partition(":")
    if colon and seed.isdigit() and number.isdigit():
        return generate(int(seed), int(number), lacks=lacks)
    return Case.decode(Path(name).read_text())


def _numbered(seed: int, given: argparse.Namespace, lacks: frozenset[str]) -> Iterator[Case]:
    end = time.monotonic() + given.seconds if given.seconds is not None else None
    number = given.first
    count = given.count if given.count is not None or end is not None else 100
    while (count is None or number < given.first + count) and (end is None or time.monotonic() < end):
        yield generate(seed, number, lacks=lacks)
        number += 1


def run(cases: Iterator[Case], benches: list[Bench], keep: Path) -> int:
    """Try cases in a few processes; print and keep what differs; return the exit status."""
    tally: dict[str, float] = defaultdict(int)
    explained: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    classes: dict[tuple[str, ...], Path] = {}
    began = time.monotonic()
    context = multiprocessing.get_context("fork")
    free: SimpleQueue[int] = context.SimpleQueue()
    for number in range(len(benches)):
        free.put(number)
    with context.Pool(len(benches), _start, (benches, free)) as pool:
        for finding in _findings(pool, cases):
            tally["cases"] += 1
            tally["builds"] += finding.builds
            tally["failing"] += finding.failures.total()
            failures.update(finding.failures)
            tally["rebuilds"] += finding.rebuilt
            tally["their seconds"] += finding.seconds[0]
            tally["our seconds"] += finding.seconds[1]
            if max(finding.seconds) > SLOW:
                print(
                    f"{finding.case.name} took {finding.seconds[0]:.0f} and {finding.seconds[1]:.0f} seconds",
                    flush=True,
                )
            explained.update(finding.explained)
            if finding.differences:
                tally["differing" if finding.repeated else "unrepeated"] += 1
                _show(finding, keep, classes)
            if tally["cases"] % 50 == 0:
                print(f"-- {_figures(tally, began)}", flush=True)
    for name, times in failures.most_common(20):
        print(f"failed {times} times: {name}")
    for name, times in explained.most_common():
        print(f"explained {times} times: {name}")
    print(f"{_figures(tally, began)}, {len(classes)} unexplained classes")
    return 1 if classes else 0


def _findings(pool: Pool, cases: Iterator[Case]) -> Iterator[Finding]:
    """Try cases in the pool, a few at a time, so that a limit of time is one; give the findings in their order."""
    pending: deque[AsyncResult[Finding]] = deque()
    for case in cases:
        pending.append(pool.apply_async(_try, (case,)))
        if len(pending) > 3 * PROCESSES:
            yield pending.popleft().get()
    while pending:
        yield pending.popleft().get()


def _start(benches: list[Bench], free: SimpleQueue[int]) -> None:
    """Give a process of the pool engines of its own."""
    global _bench
    _bench = benches[free.get()]


def _try(case: Case) -> Finding:
    try:
        return try_case(case, _bench)
    except Exception as error:  # one case must not end a long run; it counts as unexplained
        trouble = Difference("comparer", str(error)[:80], "", "")
        return Finding(case, [trouble], text=f"{case.name} cannot be compared:\n{traceback.format_exc()}")


def _figures(tally: dict[str, float], began: float) -> str:
    minutes = (time.monotonic() - began) / 60
    return f"{tally['cases']} cases, {tally['builds']} builds ({tally['failing']} fail, {tally['rebuilds']} again) in {minutes:.1f} minutes ({tally['their seconds']:.0f} s and {tally['our seconds']:.0f} s), {tally['differing']} cases differ, {tally['unrepeated']} did once only"


def _show(finding: Finding, keep: Path, classes: dict[tuple[str, ...], Path]) -> None:
    fresh = [one for one in finding.differences if one.signature not in classes]
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{finding.case.name.replace(':', '-')}.json"
    path.write_text(finding.case.encode())
    if not fresh:
        print(f"{path}: {len(finding.differences)} differences of known classes", flush=True)
    if finding.repeated:
        classes.update({one.signature: path for one in fresh})
    if fresh:
        print(f"\n==== {path}{'' if finding.repeated else ' (not seen again)'}\n{finding.text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
