# SPDX-License-Identifier: Apache-2.0
"""The comparer of builds itself: what it generates, how it reads and compares archives, explains and reduces. No engine runs."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.grammar import DiagnosticError, Source
from tests.fuzz.builds.case import Case, Change, Entry, Stage, Step, apply_change, lay_out
from tests.fuzz.builds.compare import Difference, compare, compare_pictures
from tests.fuzz.builds.engines import Report, Vertex, read_report
from tests.fuzz.builds.explained import EXPLAINED, explanation
from tests.fuzz.builds.generate import generate
from tests.fuzz.builds.messages import message_class
from tests.fuzz.builds.pictures import read_archive
from tests.fuzz.builds.reduce import reduce_case
from tests.fuzz.builds.trial import Bench, described, try_case

NOW = 1_790_000_000
SERVICES = {"registry": "127.0.0.1:1", "http": "http://127.0.0.1:2", "git": "git://127.0.0.1:3/r.git"}


def _row(
    name: str, /, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1_500_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def _archive(
    path: Path,
    *layers: list[tuple[tarfile.TarInfo, bytes]],
    config: dict | None = None,
    platform: dict | None = None,
) -> Path:
    """Write an OCI archive."""
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"digest": f"sha256:{digest}", "size": len(data), "mediaType": "x"}

    descriptors = []
    for rows in layers:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for info, data in rows:
                tar.addfile(info, io.BytesIO(data))
        descriptors.append(put(out.getvalue()))
    top = put(json.dumps(config or {"created": "2020-01-01T00:00:00Z"}).encode())
    manifest = put(json.dumps({"config": top, "layers": descriptors}).encode())
    if platform:
        manifest["platform"] = platform
    with tarfile.open(path, "w") as tar:
        index = json.dumps({"manifests": [manifest]}).encode()
        for info, data in [
            _row("index.json", data=index),
            *(_row(f"blobs/sha256/{key}", data=value) for key, value in blobs.items()),
        ]:
            tar.addfile(info, io.BytesIO(data))
    return path


def _kinds(one: Path, other: Path) -> set[str]:
    return {found.kind for found in compare_pictures(read_archive(one), read_archive(other), NOW)}


BASE = [
    _row("d", tarfile.DIRTYPE, mode=0o755),
    _row("d/f", data=b"text", mode=0o644),
    _row("d/g", tarfile.LNKTYPE, linkname="d/f"),
    _row("l", tarfile.SYMTYPE, linkname="d"),
]


def test_generation_depends_on_seed_and_number_alone() -> None:
    assert [generate(7, at) for at in range(30)] == [generate(7, at) for at in range(30)]
    assert generate(7, 1) != generate(8, 1)


def test_generated_cases_are_written_and_read() -> None:
    for at in range(100):
        case = generate(3, at)
        assert Case.decode(case.encode()) == case


def test_most_generated_dockerfiles_parse() -> None:
    failed = 0
    for at in range(200):
        try:
            parse(Source("Dockerfile", generate(5, at).dockerfile()))
        except DiagnosticError:
            failed += 1
    assert failed < 20


def test_what_a_peer_lacks_is_not_generated() -> None:
    lacks = frozenset({"COPY --parents", "RUN --security"})
    texts = [generate(5, at).dockerfile() for at in range(300)]
    lesser = [generate(5, at, lacks=lacks).dockerfile() for at in range(300)]
    assert any("--parents" in text for text in texts)
    assert not any("--parents" in text or "--security" in text for text in lesser)


def test_every_flag_and_kind_of_entry_is_generated() -> None:
    cases = [generate(11, at) for at in range(1500)]
    text = "\n".join(case.dockerfile() for case in cases)
    for flag in (
        "--chown",
        "--chmod",
        "--link",
        "--parents",
        "--exclude",
        "--from",
        "--checksum",
        "--keep-git-dir",
        "--network",
        "--platform",
        "--interval",
    ):
        assert flag in text
    for kind in ("bind", "cache", "tmpfs", "secret", "ssh"):
        assert f"--mount=type={kind}" in text
    assert {entry.kind for case in cases for entry in case.context} == {
        "file",
        "dir",
        "link",
        "hard",
        "archive",
        "fifo",
        "socket",
    }
    assert {case.change.kind for case in cases if case.change} >= {
        "nothing",
        "edit",
        "touch",
        "mode",
        "remove",
        "add",
        "step",
        "drop step",
    }


def test_contexts_are_laid_out_and_changed(tmp_path: Path) -> None:
    case = Case(
        name="x",
        stages=(Stage(base="{registry}/base:plain", steps=(Step(verb="COPY", body=". /"),)),),
        context=(
            Entry(path="d", kind="dir", mode=0o2775), Entry(path="d/f", data="text", mode=0o4755, mtime=1_000_000_007),
            Entry(path="d/g", kind="hard", target="d/f"), Entry(path="l", kind="link", target="d"), Entry(path="p", kind="fifo"), Entry(path="s", kind="socket"),
        ),
        ignore=("*.log",),
        change=Change(kind="edit", path="d/f", text="more"),
    )  # fmt: skip
    laid = lay_out(case, tmp_path, SERVICES)
    assert laid.dockerfile.read_text() == "FROM 127.0.0.1:1/base:plain\nCOPY . /\n"
    stat = (laid.context / "d/f").stat()
    assert (stat.st_mode & 0o7777, stat.st_nlink, stat.st_mtime_ns) == (0o4755, 2, 1_000_000_007)
    assert (laid.context / "d").stat().st_mode & 0o7777 == 0o2775
    assert (laid.context / ".dockerignore").read_text() == "*.log\n"
    assert case.change is not None
    apply_change(case.change, case, laid)
    assert (laid.context / "d/g").read_text() == "textmore"


def test_equal_archives_have_no_difference(tmp_path: Path) -> None:
    one = _archive(tmp_path / "a", BASE)
    assert compare_pictures(read_archive(one), read_archive(one), NOW) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mode": 0o4644}, {"root.mode"}),
        ({"uid": 7}, {"root.uid"}),
        ({"gid": 7}, {"root.gid"}),
        ({"mtime": 5}, {"root.mtime"}),
        ({"mtime": NOW + 5}, {"root.mtime"}),
        ({"pax_headers": {"SCHILY.xattr.user.a": "b"}}, {"root.xattrs"}),
        ({"name": "d/h"}, {"root.entry", "layers.names"}),
    ],
)
def test_each_change_of_an_entry_is_found(tmp_path: Path, change: dict, expected: set[str]) -> None:
    rows = [BASE[0], _row("x", data=b"text")]
    other = [BASE[0], _row("x", data=b"text", **change)]
    assert _kinds(_archive(tmp_path / "a", rows), _archive(tmp_path / "b", other)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([BASE[0], _row("d/f", data=b"TEXT"), BASE[2], BASE[3]], {"root.content"}),
        ([BASE[0], BASE[1], _row("d/g", data=b"text"), BASE[3]], {"root.hardlinks"}),
        ([*BASE[:3], _row("l", tarfile.SYMTYPE, linkname="e")], {"root.target"}),
        ([*BASE[:3], _row("l", tarfile.FIFOTYPE)], {"root.kind"}),
    ],
)
def test_content_links_and_kinds_are_compared(tmp_path: Path, rows: list, expected: set[str]) -> None:
    assert _kinds(_archive(tmp_path / "a", BASE), _archive(tmp_path / "b", rows)) == expected


def test_times_of_both_builds_are_equal_and_others_are_not(tmp_path: Path) -> None:
    one = _archive(tmp_path / "a", [_row("f", mtime=NOW + 1)], config={"created": "2026-11-01T00:00:00Z"})
    other = _archive(tmp_path / "b", [_row("f", mtime=NOW + 99)], config={"created": "2026-11-02T00:00:00Z"})
    assert _kinds(one, other) == set()


def test_opaque_markers_equal_whiteouts_of_all_that_is_below(tmp_path: Path) -> None:
    opaque = [BASE[0], _row("d/.wh..wh..opq"), _row("d/new")]
    each = [BASE[0], _row("d/.wh.f"), _row("d/.wh.g"), _row("d/new")]
    one, other = _archive(tmp_path / "a", BASE, opaque), _archive(tmp_path / "b", BASE, each)
    assert _kinds(one, other) == set()
    assert sorted(read_archive(one).images[0].root) == ["d", "d/new", "l"]


def test_layers_configs_and_platforms_are_compared(tmp_path: Path) -> None:
    one = _archive(
        tmp_path / "a",
        BASE,
        [_row("x")],
        config={"config": {"User": "a"}, "history": [{"created_by": "x"}]},
        platform={"os": "linux"},
    )
    other = _archive(tmp_path / "b", [*BASE, _row("x")], config={"config": {"User": "b"}, "history": [{"created_by": "y"}]}, platform={"os": "linux", "variant": "v8"})  # fmt: skip
    assert _kinds(one, other) == {
        "layers.count",
        "manifest.layers",
        "config.config",
        "config.history",
        "index.manifests",
    }


def _status(*vertexes: dict, warnings: tuple[dict, ...] = ()) -> str:
    return json.dumps({"vertexes": list(vertexes), "warnings": list(warnings)})


def test_reports_are_read_from_status_lines() -> None:
    text = "\n".join(
        (
            _status({"digest": "1", "name": "[1/1] RUN x", "inputs": ["0"]}),
            _status({"digest": "1", "name": "[1/1] RUN x", "inputs": ["0"], "started": "t", "cached": True}, warnings=({"short": "Tm90ZQ=="},)),
            "error: failed to solve: no such thing [some-code]",
        )
    )  # fmt: skip
    report = read_report(1, text, Path("x"), 0)
    assert report.vertexes == {"1": Vertex("[1/1] RUN x", cached=True, started=True)}
    assert (report.warnings, report.message, report.archive) == (["Note"], "no such thing", None)


def test_outcomes_messages_steps_and_caching_are_compared(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a", BASE)
    good = Report(0, archive=path, vertexes={"1": Vertex("[1/1] RUN x", cached=True)})

    def kinds(theirs: Report, ours: Report, *, again: bool = False) -> list[str]:
        return [one.kind for one in compare(theirs, ours, since=NOW, again=again)]

    assert kinds(good, good) == []
    assert kinds(good, Report(1, message="no")) == ["outcome"]
    assert kinds(Report(-1, message="hangs"), Report(-1, message="hangs")) == ["outcome"]
    assert (
        kinds(Report(1, message='"/x": not found'), Report(1, message="lstat /y: no such file or directory"))
        == []
    )
    assert kinds(Report(1, message="a"), Report(1, message="b")) == ["message"]
    assert kinds(good, replace(good, vertexes={"1": Vertex("[1/2] RUN x", cached=True)})) == [
        "steps",
        "steps",
    ]
    two = replace(good, vertexes={"1": Vertex("[1/2] COPY a"), "2": Vertex("[2/2] COPY b")})
    assert kinds(two, replace(good, vertexes={"1": Vertex("[1/2] COPY a + [2/2] COPY b")})) == []
    ran = replace(good, vertexes={"1": Vertex("[1/1] RUN x", started=True)})
    assert kinds(good, ran) == []
    assert kinds(good, ran, again=True) == ["cached"]
    assert kinds(good, replace(good, warnings=["w"])) == ["warnings"]
    failing = Report(1, message="a")
    assert kinds(failing, replace(failing, warnings=["w"])) == ["warnings.failing"]


def test_classes_of_messages_differ_by_what_went_wrong() -> None:
    assert message_class('process "a" did not complete successfully: exit code: 3') != message_class(
        "exit code: 4"
    )
    assert message_class("unknown flag: --x") == message_class("dockerfile parse error on line 3: y")
    assert message_class("lookup a.example: no such host (did you mean s0?)") == message_class(
        "x: cannot resolve the host name a.example: name or service not known"
    )
    assert message_class("alone 17 'a'") == message_class("alone 18 'b'")


def test_explanations_are_narrow_and_give_reasons() -> None:
    names = [one.name for one in EXPLAINED]
    assert len(set(names)) == len(names)
    case = generate(1, 1)
    for one in EXPLAINED:
        assert one.reason
        for pattern in (one.kind, one.place, one.theirs, one.ours, one.case):
            re.compile(pattern)
        assert not re.fullmatch(one.kind, "root.anything"), "an explanation is about one kind"
    assert explanation(Difference("root.mode", "x (file)", "0o644", "0o600"), case) is None
    assert explanation(Difference("outcome", "", "succeeds", "internal error"), case) is None


def test_cases_are_reduced_to_what_shows_the_difference() -> None:
    found = next(
        case
        for at in range(500)
        if "--link" in (case := generate(9, at)).dockerfile() and len(case.context) > 3
    )
    small = reduce_case(found, lambda case: "--link" in case.dockerfile(), most=1000)
    steps = [step for stage in small.stages for step in stage.steps]
    assert [step.flags for step in steps] == [("--link",)]
    assert (small.context, small.options, small.ignore, small.named, small.change) == ((), (), (), (), None)


class _Constant:
    """An engine that always reports the same."""

    def __init__(self, name: str, report: Report) -> None:
        self.name = name
        self._report = report

    def reset(self) -> None:
        pass

    def build(self, arguments: object, archive: Path) -> Report:
        return self._report


def test_a_trial_reports_explains_and_describes(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a", BASE)
    good, warned = Report(0, archive=path), Report(0, archive=path, warnings=["News: told"])
    case = replace(generate(2, 2), change=None)
    bench = Bench(
        theirs=_Constant("a", good),
        ours=_Constant("b", warned),
        services=SERVICES,
        work=tmp_path / "w",
        since=NOW,
    )
    finding = try_case(case, bench)
    assert [one.kind for one in finding.differences] == ["warnings"]
    assert finding.repeated
    assert len(finding.case.stages) == 1
    assert not finding.case.stages[0].steps
    assert "News: told" in finding.text
    assert described(finding.case, finding.differences, SERVICES) == finding.text
    assert not any((tmp_path / "w").iterdir()), "contexts are removed"
    agreeing = Bench(
        theirs=_Constant("a", good),
        ours=_Constant("b", good),
        services=SERVICES,
        work=tmp_path / "w",
        since=NOW,
    )
    assert try_case(case, agreeing).differences == []


class _FirstFailure:
    """An engine that fails with the first of some steps that a Dockerfile has."""

    def __init__(self, name: str, *steps: str) -> None:
        self.name = name
        self._steps = steps

    def reset(self) -> None:
        pass

    def build(self, arguments: Sequence[str], archive: Path) -> Report:
        text = Path(arguments[arguments.index("-f") + 1]).read_text()
        return next(
            (Report(1, message=f"{step} is wrong") for step in self._steps if step in text),
            Report(0, archive=_archive(archive, BASE)),
        )


@pytest.mark.parametrize(("second", "explained"), [("RUN b", True), ("FROM", False)])
def test_either_of_two_failures_may_be_told(tmp_path: Path, second: str, explained: bool) -> None:
    steps = (Step(verb="RUN", body="a"), Step(verb="RUN", body="b"))
    case = Case(name="x", stages=(Stage(base="scratch", steps=steps),))
    theirs, ours = _FirstFailure("theirs", "RUN a", second), _FirstFailure("ours", second, "RUN a")
    bench = Bench(theirs=theirs, ours=ours, services=SERVICES, work=tmp_path, since=NOW)
    assert bool(try_case(case, bench).differences) is not explained


@pytest.mark.parametrize(
    "steps",
    [
        (Step(verb="COPY", body='["one", "two", "/d/"]'),),
        (Step(verb="RUN", body="three"), Step(verb="RUN", body="one"), Step(verb="COPY", body="two four /")),
    ],
)
def test_failures_of_one_step_and_of_three_are_told_apart(tmp_path: Path, steps: tuple[Step, ...]) -> None:
    case = Case(name="x", stages=(Stage(base="scratch", steps=steps),))
    theirs, ours = (
        _FirstFailure("theirs", "one", "three", "two"),
        _FirstFailure("ours", "two", "three", "one"),
    )
    bench = Bench(theirs=theirs, ours=ours, services=SERVICES, work=tmp_path, since=NOW)
    finding = try_case(case, bench)
    assert (finding.differences, list(finding.explained)) == ([], ["two independent failures"])


def test_a_failure_that_only_one_engine_ever_has_is_not_explained(tmp_path: Path) -> None:
    steps = (Step(verb="RUN", body="one"), Step(verb="RUN", body="two"))
    case = Case(name="x", stages=(Stage(base="scratch", steps=steps),))
    theirs, ours = _FirstFailure("theirs", "one", "two"), _FirstFailure("ours", "FROM", "one", "two")
    bench = Bench(theirs=theirs, ours=ours, services=SERVICES, work=tmp_path, since=NOW, reducing=False)
    assert [one.kind for one in try_case(case, bench).differences] == ["message"]


def _time(place: str, ours: str) -> Difference:
    return Difference("root.mtime", f"{place} (dir)", "now", ours)


def test_an_explanation_holds_where_its_step_writes_alone() -> None:
    steps = (Step(verb="COPY", flags=("--from=s0",), body="/etc x/"),)
    case = Case(
        name="x",
        stages=(Stage(base="b", steps=(Step(verb="RUN", body="true"),)), Stage(base="b", steps=steps)),
    )
    assert explanation(_time("x", "1500000000"), case) is not None
    assert explanation(_time("srv/x", "1500000000"), case) is not None
    assert explanation(_time("y", "1500000000"), case) is None
    json_form = replace(steps[0], body='["/etc", "/a b/"]')
    case = replace(case, stages=(case.stages[0], replace(case.stages[1], steps=(json_form,))))
    assert explanation(_time("a b", "1500000000"), case) is not None
    assert explanation(_time("x", "1500000000"), case) is None


@pytest.mark.parametrize(("path", "explained"), [("d", True), ("e", True), ("d/f", False)])
def test_only_changed_modes_of_directories_may_be_missed(path: str, explained: bool) -> None:
    context = (Entry(path="d", kind="dir"), Entry(path="d/f"), Entry(path="e/g"))
    case = Case(name="x", stages=(), context=context, change=Change(kind="mode", path=path))
    found = explanation(Difference("cached", "[1/1] COPY d /", "CACHED", "runs"), case)
    assert (found is not None) is explained


def test_git_indexes_are_compared_without_what_is_the_checkouts_own(tmp_path: Path) -> None:
    def index(stamp: int, digest: bytes, name: bytes = b"f") -> bytes:
        entry = struct.pack(">10I", stamp, 0, stamp, 0, 1, stamp, 0o100644, 0, 0, stamp) + digest * 20
        entry += len(name).to_bytes(2, "big") + name
        return struct.pack(">4sII", b"DIRC", 2, 1) + entry + b"\0" * (8 - len(entry) % 8) + b"end"

    def kinds(one: bytes, other: bytes) -> set[str]:
        archives = [
            _archive(tmp_path / str(at), [_row("r/.git/index", data=data)])
            for at, data in enumerate((one, other))
        ]
        return _kinds(*archives)

    assert kinds(index(5, b"a"), index(6, b"a")) == set()
    assert kinds(index(5, b"a"), index(5, b"b")) == {"root.content"}
    assert kinds(index(5, b"a"), index(5, b"a", b"g")) == {"root.content"}
    assert kinds(b"damaged index", b"damaged INDEX") == {"root.content"}
