# SPDX-License-Identifier: Apache-2.0
"""Tries one case on both engines: builds, compares, explains, and reduces what is left."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import MutableMapping
from dataclasses import field
from pathlib import Path

from llbkit.records import dataclass
from tests.fuzz.builds.case import Case, Laid, apply_change, filled, lay_out, write_dockerfile
from tests.fuzz.builds.compare import Difference, compare
from tests.fuzz.builds.engines import Report, Runner
from tests.fuzz.builds.explained import explanation
from tests.fuzz.builds.messages import message_class
from tests.fuzz.builds.reduce import reduce_case

SECRET = "secret\n"
SHOWN = 12
MOST_CUTS = 60
"""How many smaller builds are tried to show that two failures are independent."""


@dataclass
class Bench:
    """What trials share."""

    theirs: Runner
    ours: Runner
    services: dict[str, str]
    work: Path
    since: float
    reducing: bool = True
    seen: MutableMapping[tuple[str, ...], bool] = field(default_factory=dict)
    """The signatures that were reduced already, in any process."""


@dataclass
class Finding:
    """What came of a case."""

    case: Case
    differences: list[Difference] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)
    builds: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    rebuilt: int = 0
    repeated: bool = True
    seconds: tuple[float, float] = (0, 0)
    text: str = ""


def try_case(case: Case, bench: Bench) -> Finding:
    """Build a case on both engines and return what differs, in its smallest form if the class is new."""
    finding = Finding(case)
    reports: list[Report] = []
    for difference in differences(case, bench, reports):
        why = explanation(difference, case)
        if why is not None:
            finding.explained[why.name] += 1
        elif difference.kind == "message" and fails_twice(difference, case, bench):
            finding.explained["two independent failures"] += 1
        else:
            finding.differences.append(difference)
    finding.builds = len(reports) // 2
    finding.seconds = sum(one.seconds for one in reports[::2]), sum(one.seconds for one in reports[1::2])
    finding.failures.update(message_class(report.message) for report in reports[::2] if not report.ok)
    finding.rebuilt = finding.builds - 1
    if not finding.differences:
        return finding
    finding.repeated = _repeats(finding, bench)
    if finding.repeated and bench.reducing:
        fresh = [one.signature for one in finding.differences if one.signature not in bench.seen]
        if fresh:
            bench.seen[fresh[0]] = True
            _reduce(finding, fresh[0], bench)
    finding.text = described(finding.case, finding.differences, bench.services)
    return finding


def _repeats(finding: Finding, bench: Bench) -> bool:
    """Say whether one of the differences is there again when both engines start from nothing."""
    bench.theirs.reset()
    bench.ours.reset()
    wanted = {one.signature for one in finding.differences}
    return any(one.signature in wanted for one in _unexplained(finding.case, bench))


def _unexplained(case: Case, bench: Bench) -> list[Difference]:
    return [one for one in differences(case, bench, []) if explanation(one, case) is None]


def _reduce(finding: Finding, signature: tuple[str, ...], bench: Bench) -> None:
    def shows(case: Case) -> bool:
        return any(one.signature == signature for one in _unexplained(case, bench))

    finding.case = reduce_case(finding.case, shows)
    finding.differences = _unexplained(finding.case, bench) or finding.differences


def fails_twice(difference: Difference, case: Case, bench: Bench) -> bool:
    """Say whether two things fail independently, so that either engine may name either.

    That is so if, without some steps, sources or links, both engines fail as the reference did, and without others as ours
    did. Which is named first depends on what runs at the same time: both engines look for the sources of a COPY while the
    steps before it run.
    """
    wanted = {message_class(difference.theirs), message_class(difference.ours)}
    pending = deque((less, 1) for less in case.without_steps())
    for _ in range(MOST_CUTS):
        if not pending:
            break
        less, cuts = pending.popleft()
        reports: list[Report] = []
        found = differences(less, bench, reports)
        if all(explanation(one, less) is not None for one in found):
            wanted -= {message_class(report.message) for report in reports if not report.ok}
        elif cuts < 3 and any(one.kind == "message" for one in found):
            pending += ((lesser, cuts + 1) for lesser in less.without_steps())
        if not wanted:
            return True
    return False


def differences(case: Case, bench: Bench, reports: list[Report]) -> list[Difference]:
    """Build a case, and once more after its change, and compare; the reports are appended, the reference's first."""
    folder = bench.work / f"{case.name.replace(':', '-')}-{id(case):x}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        laid = lay_out(case, folder, bench.services)
        arguments = arguments_of(case, laid, bench.services)
        found = _build_both(arguments, folder, bench, reports)
        unexplained = [one for one in found if explanation(one, case) is None]
        if case.change is None or unexplained or not (reports[-1].ok and reports[-2].ok):
            return found
        apply_change(case.change, case, laid)
        write_dockerfile(case.changed(), laid, bench.services)
        return found + _build_both(arguments, folder, bench, reports, again=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_both(
    arguments: list[str], folder: Path, bench: Bench, reports: list[Report], *, again: bool = False
) -> list[Difference]:
    pair = [
        runner.build(arguments, folder / f"{runner.name}{int(again)}.tar")
        for runner in (bench.theirs, bench.ours)
    ]
    reports += pair
    return compare(pair[0], pair[1], since=bench.since, again=again)


def arguments_of(case: Case, laid: Laid, addresses: dict[str, str]) -> list[str]:
    """Return the arguments after ``build``; both engines understand them."""
    secret = laid.folder / "secret"
    secret.write_text(SECRET)
    arguments = [
        "--network=none",
        "--allow=network.host",
        f"--secret=id=s,src={secret}",
        "-f",
        str(laid.dockerfile),
    ]
    for option in case.options:
        arguments += [filled(word, addresses) for word in option]
    for name, folder in laid.named.items():
        arguments += ["--build-context", f"{name}={folder}"]
    return [*arguments, str(laid.context)]


def described(case: Case, found: list[Difference], addresses: dict[str, str]) -> str:
    """Return a case and its differences for people."""
    lines = ["---- Dockerfile", filled(case.dockerfile(), addresses).rstrip("\n")]
    if case.options:
        lines.append("---- options: " + " ".join(word for option in case.options for word in option))
    for name, entries in (("context", case.context), *case.named):
        if entries:
            lines.append(f"---- {name}")
        for entry in entries:
            what = (
                entry.target or repr(entry.data[:30])
                if entry.kind != "archive"
                else f"{entry.compression or 'tar'}{entry.tail and '+tail'}"
            )
            lines.append(f"{entry.kind:8}{entry.mode:5o} {entry.path!r} {what} {dict(entry.xattrs) or ''}")
            lines += [f"            {m.kind} {m.mode:o} {m.uid}:{m.gid} {m.mtime} {m.name!r} {m.target} {m.xattr} {m.form}" for m in entry.members]  # fmt: skip
    if case.ignore:
        lines += ["---- .dockerignore", *case.ignore]
    if case.change:
        lines.append(f"---- then {case.change.kind} {case.change.path} {case.change.text!r}")
    lines.append("---- differences")
    lines += [str(one) for one in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"... and {len(found) - SHOWN} more")
    return "\n".join(lines)
