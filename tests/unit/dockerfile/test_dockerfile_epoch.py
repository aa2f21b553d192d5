# SPDX-License-Identifier: Apache-2.0
"""SOURCE_DATE_EPOCH as BuildKit's frontend was seen to resolve it: what it may name, what is asked, what it changes."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import ResolvedSource
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.lower.convert import Converted
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.inputs.archive_times import ArchiveError, newest_time
from llbkit.frontends.kit.inputs.commits import CommitError, committer_time
from llbkit.grammar import DiagnosticError
from llbkit.llb.ir.ops import File, MkDir, Source
from tests.unit.dockerfile.test_dockerfile_as_buildkit import bridge_of
from tests.unit.dockerfile.test_dockerfile_lowering import IMAGES

ARG = "build-arg:SOURCE_DATE_EPOCH"
USE = "FROM alpine:3.20\nARG SOURCE_DATE_EPOCH\nENV A=[$SOURCE_DATE_EPOCH]\n"
MODIFIED = "1622536200"
COMMITTED = "1600003600"
GIT = "https://h.test/a/b.git"


def lowered(text: str, **attrs: str) -> tuple[Converted, RecordedBridge]:
    bridge = bridge_of(text, **attrs)
    (made,) = asyncio.run(DockerfileFrontend().convert(bridge))
    return made, bridge


def seconds(made: Converted) -> str:
    return str(int(made.epoch.timestamp())) if made.epoch is not None else ""


def seen(made: Converted) -> str:
    """Return the value that the stage saw."""
    return json.loads(made.image.encode())["config"]["Env"][-1].removeprefix("A=[").removesuffix("]")


def history(made: Converted) -> list[str]:
    return [entry["created_by"] for entry in json.loads(made.image.encode())["history"]]


def fault(text: str, **attrs: str) -> tuple[str, list[Any], list[Any]]:
    """Return the error's message and places, and what had been asked before it."""
    bridge = bridge_of(text, **attrs)
    with pytest.raises(DiagnosticError) as caught:
        asyncio.run(DockerfileFrontend().convert(bridge))
    error = caught.value
    places = [place.lines for place in error.locations] if isinstance(error, ProgramError) else []
    return error.diagnostics[0].message, places, bridge.calls


# -- values


@pytest.mark.parametrize(
    ("value", "number"), [("0", "0"), ("+5", "5"), ("-1", "-1"), ("007", "7"), ("1700000000", "1700000000")]
)
def test_a_number_is_read_as_go_reads_one_and_written_anew(value: str, number: str) -> None:
    made, _ = lowered(USE, **{ARG: value})
    assert (seconds(made), seen(made)) == (number, number)


@pytest.mark.parametrize("value", ["1.5", "0x1", "99999999999999999999", "nothing", "a-b"])
def test_other_words_are_names(value: str) -> None:
    assert fault(USE, **{ARG: value}) == (f"invalid SOURCE_DATE_EPOCH: {value}", [], [])


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("Stamp", "invalid reference format: repository name (library/Stamp) must be lowercase"),
        ("1 2", "invalid reference format"),
        ("-5x", "invalid reference format"),
    ],
)
def test_a_name_must_be_one_of_an_image_also_where_a_stage_has_it(value: str, cause: str) -> None:
    text = f"FROM scratch AS stamp\nADD https://h.test/f /\n{USE}"
    assert fault(text, **{ARG: value}) == (f"invalid context name {value}: {cause}", [], [])


def test_it_is_looked_at_before_platforms_targets_and_images() -> None:
    text = "FROM --platform=bogus/a/b/c/d nope:1\n"
    assert fault(text, target="missing", **{ARG: "x"})[0] == "invalid SOURCE_DATE_EPOCH: x"


def test_what_else_is_wrong_is_told_of_too() -> None:
    with pytest.raises(DiagnosticError) as caught:
        lowered("FROM alpine:3.20\nEXPOSE web\n", **{ARG: "x"})
    assert [one.code for one in caught.value.diagnostics] == ["option", "port"]


@pytest.mark.parametrize(
    ("head", "attrs", "number", "value", "shown"),
    [
        ("", {ARG: ""}, "", "", "ARG SOURCE_DATE_EPOCH"),
        ("ARG SOURCE_DATE_EPOCH=7\n", {}, "7", "7", "ARG SOURCE_DATE_EPOCH=7"),
        ("ARG SOURCE_DATE_EPOCH=7\n", {ARG: ""}, "", "", "ARG SOURCE_DATE_EPOCH"),
        ("ARG SOURCE_DATE_EPOCH=\n", {}, "", "", "ARG SOURCE_DATE_EPOCH="),
        ("ARG SOURCE_DATE_EPOCH=7\n", {ARG: "8"}, "8", "8", "ARG SOURCE_DATE_EPOCH=8"),
        ("ARG X=1\nARG SOURCE_DATE_EPOCH=$X$X\n", {}, "11", "11", "ARG SOURCE_DATE_EPOCH=11"),
        ("ARG SOURCE_DATE_EPOCH=context\n", {}, "", "", "ARG SOURCE_DATE_EPOCH"),
        ("", {}, "", "", "ARG SOURCE_DATE_EPOCH"),
    ],
)
def test_the_build_argument_counts_before_the_global_one(
    head: str, attrs: dict[str, str], number: str, value: str, shown: str
) -> None:
    made, _ = lowered(head + USE, **attrs)
    assert (seconds(made), seen(made), history(made)[-2]) == (number, value, shown)


def test_without_a_time_a_stage_has_its_own_default() -> None:
    made, _ = lowered(USE.replace("EPOCH\n", "EPOCH=9\n", 1), **{ARG: "context"})
    assert (seconds(made), seen(made)) == ("", "9")
    assert '"created":"' not in made.image.encode().decode().rpartition("ARG SOURCE")[0].rpartition("},{")[2]


@pytest.mark.parametrize(
    ("value", "created"),
    [
        ("1", 10**9),
        ("-1", -(10**9)),
        ("9223372037", 9223372037 * 10**9 - 2**64),
        ("253402300799", 253402300799 * 10**9 - 14 * 2**64),
    ],
)
def test_the_time_of_a_directory_wraps_where_nanoseconds_have_no_bits_left(value: str, created: int) -> None:
    made, _ = lowered("FROM scratch\nWORKDIR /x\n", **{ARG: value})
    (op,) = [vertex.op for vertex in made.state.graph() if isinstance(vertex.op, File)]
    assert isinstance(op.actions[0].action, MkDir)
    assert op.actions[0].action.timestamp == created


# -- contexts


def test_a_git_context_gives_the_committers_time_and_zone() -> None:
    made, bridge = lowered(USE, context=f"{GIT}#main", **{ARG: "context"})
    assert seconds(made) == COMMITTED
    assert '"created":"2020-09-13T15:26:40+02:00"' in made.image.encode().decode()
    asked = next(call for call in bridge.calls if call["kind"] == "source")
    assert asked["log_name"] == "[internal] resolve main build context metadata"
    assert asked["attrs"]["git.mtime"] == "commit"


def git_attrs(made: Converted) -> dict[str, str]:
    (found,) = [v.op for v in made.state.graph() if isinstance(v.op, Source) and "git:" in v.op.identifier]
    return dict(found.attrs)


@pytest.mark.parametrize(
    ("head", "query", "attrs", "mtime"),
    [
        ("", "", {ARG: "5"}, "commit"),
        ("", "", {ARG: "context"}, "commit"),
        ("", "", {ARG: ""}, None),
        ("", "", {}, None),
        ("ARG SOURCE_DATE_EPOCH=5\n", "", {}, None),
        ("", "?mtime=checkout", {ARG: "5"}, "checkout"),
        ("", "?mtime=commit", {}, "commit"),
    ],
)
def test_files_of_a_git_context_have_their_commits_time_if_the_build_argument_is_set(
    head: str, query: str, attrs: dict[str, str], mtime: str | None
) -> None:
    made, _ = lowered(f"{head}FROM scratch\nCOPY a /\n", context=GIT + query, **attrs)
    assert git_attrs(made).get("git.mtime") == mtime
    caps = {cap for one in made.state.graph().metadata.values() for cap in one.caps}
    assert ("source.git.mtime" in caps) is (mtime is not None)


@pytest.mark.parametrize("text", ["FROM scratch\nCOPY --from=named a /\n", f"FROM scratch\nADD {GIT} /\n"])
def test_other_repositories_keep_the_times_of_their_checkout(text: str) -> None:
    made, _ = lowered(text, **{ARG: "5", "context:named": GIT})
    assert "git.mtime" not in git_attrs(made)


def test_a_local_context_is_asked_about_and_has_no_time() -> None:
    options = {"dockerignore": "x\n!x/y\n"}
    bridge = RecordedBridge(
        {"dockerfile": USE, "frontend_attrs": {ARG: "context"}, "options": options}, IMAGES
    )
    (made,) = asyncio.run(DockerfileFrontend().convert(bridge))
    assert seconds(made) == ""
    assert bridge.calls[0] == {
        "kind": "source",
        "identifier": "local://context",
        "attrs": {
            "local.excludepatterns": '["x","!x/y"]',
            "local.session": "vector-session",
            "local.sharedkeyhint": "context",
        },
        "log_name": "[internal] resolve main build context metadata",
    }
    assert [call["kind"] for call in bridge.calls] == ["source", "image"]


@pytest.mark.parametrize(
    ("value", "specifier", "identifier", "number"),
    [
        ("named", f"{GIT}#v1", "git://h.test/a/b.git#v1", COMMITTED),
        ("named", "https://h.test/f.tgz", "https://h.test/f.tgz", MODIFIED),
        ("named", "local:dir", "local://dir", ""),
        ("docker.io/library/named:latest", f"{GIT}#v1", "git://h.test/a/b.git#v1", COMMITTED),
    ],
)
def test_a_named_context_comes_before_a_stage(
    value: str, specifier: str, identifier: str, number: str
) -> None:
    text = f"FROM scratch AS named\nADD https://h.test/other /\n{USE}"
    made, bridge = lowered(text, **{ARG: value, "context:named": specifier})
    (asked,) = [call for call in bridge.calls if call["kind"] == "source"]
    assert (asked["identifier"], seconds(made)) == (identifier, number)
    assert asked["log_name"] == f"[internal] resolve SOURCE_DATE_EPOCH named context {value}"


def test_an_image_as_a_named_context_is_resolved_for_no_platform() -> None:
    made, bridge = lowered(USE, **{ARG: "named", "context:named": "docker-image://busybox:1.36"})
    assert seconds(made) == ""
    assert [(call["kind"], call.get("platform")) for call in bridge.calls] == [
        ("image", None),
        ("source", None),
        ("image", "linux/amd64"),
    ]
    assert bridge.calls[1]["identifier"] == "docker-image://docker.io/library/busybox:1.36"


def test_a_named_context_is_looked_up_for_the_frontends_own_platform() -> None:
    attrs = {"context:named::linux/amd64": f"{GIT}#own", "context:named::linux/arm64": f"{GIT}#target"}
    _, bridge = lowered("FROM scratch\n", platform="linux/arm64", **{ARG: "named"}, **attrs)
    assert [call["identifier"] for call in bridge.calls] == ["git://h.test/a/b.git#own"]


def test_what_is_made_of_no_source_or_several_is_not_asked_about() -> None:
    made, bridge = lowered("FROM scratch\n", **{ARG: "named", "context:named": "input:base-input"})
    assert (seconds(made), bridge.calls) == ("", [])


# -- stages


def asked_of(stage: str, head: str = "", **attrs: str) -> dict[str, Any]:
    """Return what is asked about the source of a stage named code."""
    made, bridge = lowered(f"{head}FROM scratch AS code\n{stage}FROM scratch\n", **{ARG: "code"}, **attrs)
    (call,) = bridge.calls
    assert call["log_name"] == "[internal] resolve SOURCE_DATE_EPOCH source stage code"
    assert seconds(made) == (COMMITTED if call["identifier"].startswith("git") else MODIFIED)
    return call


@pytest.mark.parametrize(
    ("stage", "head", "attrs", "identifier"),
    [
        ("ADD https://h.test/r-${TARGETARCH}.tgz /\n", "", {"platform": "linux/arm64"}, "r-arm64.tgz"),
        ("ADD https://h.test/$V /\n", "ARG V=1\n", {}, "1"),
        ("ARG V\nADD https://h.test/$V /\n", "ARG V=1\n", {}, "1"),
        ("ARG V=2 W=$V$V\nADD https://h.test/$W /\n", "ARG V=1\n", {}, "22"),
        ("ARG V=2\nADD https://h.test/$V /\n", "", {"build-arg:V": "3"}, "3"),
        ("ADD https://h.test/v$SOURCE_DATE_EPOCH /\n", "ARG SOURCE_DATE_EPOCH=x\n", {}, "v"),
        ("ADD https://h.test/$V /\n", "", {"build-arg:V": "3"}, ""),
    ],
)
def test_the_words_of_the_stage_see_arguments(
    stage: str, head: str, attrs: dict[str, str], identifier: str
) -> None:
    assert asked_of(stage, head, **attrs)["identifier"] == f"https://h.test/{identifier}"


@pytest.mark.parametrize(
    ("line", "attrs"),
    [
        ("https://h.test/d/f.tgz /", {"http.filename": "f.tgz"}),
        ("https://h.test/ /", {"http.filename": "__unnamed__"}),
        (
            f"--checksum=sha256:{'1' * 64} https://h.test/f /",
            {"http.filename": "f", "http.checksum": f"sha256:{'1' * 64}"},
        ),
        (f"{GIT}?bogus=1 /", {"http.filename": "b.git"}),
        (f"{GIT}#v1:sub /", {}),
        (f"--keep-git-dir {GIT} /", {"git.keepgitdir": "true"}),
        (f"--keep-git-dir=false {GIT}?keep-git-dir=1 /", {"git.keepgitdir": "true"}),
        (f"{GIT}?submodules=0 /", {"git.skipsubmodules": "true"}),
        (f"{GIT}?checksum=abc /", {"git.checksum": "abc"}),
        (f"--checksum=def {GIT}?checksum=abc /", {"git.checksum": "def"}),
        (f"{GIT}?mtime=commit&fetch-by-commit=1 /", {}),
        ("--unpack --chmod=644 https://h.test/f /", {"http.filename": "f"}),
    ],
)
def test_a_stage_is_asked_about_with_what_its_add_says(line: str, attrs: dict[str, str]) -> None:
    # The stage itself, which says things that contradict each other, is not built.
    found = asked_of(f"ADD {line}\n")["attrs"]
    assert {key: found[key] for key in found if "auth" not in key and key != "git.fullurl"} == attrs


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("FROM alpine:3.20 AS code\nRUN x\n", "must use FROM scratch"),
        ("FROM scratch AS a\nFROM a AS code\nADD https://h.test/f /\n", "must use FROM scratch"),
        (
            "FROM scratch AS code\ncopy a /\n",
            "does not meet source-only requirements: unsupported copy instruction",
        ),
        (
            "FROM scratch AS code\nADD https://h.test/f /\nLABEL a=b\n",
            "does not meet source-only requirements: unsupported LABEL instruction",
        ),
        ("FROM scratch AS code\n", "must contain exactly one remote ADD"),
        (
            "FROM scratch AS code\nADD https://h.test/f /\nADD https://h.test/g /\n",
            "must contain exactly one remote ADD",
        ),
        (
            "FROM scratch AS code\nADD https://h.test/f https://h.test/g /\n",
            "must contain exactly one remote ADD source",
        ),
        ("FROM scratch AS code\nADD <<E /f\nE\n", "must contain exactly one remote ADD source"),
        ("FROM scratch AS code\nADD f /\n", "source must be a single HTTP(S) or Git ADD"),
        ("FROM scratch AS code\nADD ftp://h.test/f /\n", "source must be a single HTTP(S) or Git ADD"),
        ("FROM scratch AS code\nADD git@h.test:a?bogus=1 /\n", "source must be a single HTTP(S) or Git ADD"),
    ],
)
def test_only_a_stage_that_loads_one_source_has_a_time(stage: str, message: str) -> None:
    line = stage[: stage.index(" AS code")].count("\n") + 1
    found = fault(f"{stage}FROM alpine:3.20\n", **{ARG: "code"})
    assert found == (f"SOURCE_DATE_EPOCH stage {message}", [((line, line),)], [])


def test_the_words_of_the_stage_are_refused_at_its_from() -> None:
    text = "FROM scratch AS code\nADD https://h.test/${X:?none} /\nFROM alpine:3.20\n"
    message, places, _ = fault(text, **{ARG: "code"})
    assert (message, places) == ('failed to process "https://h.test/${X:?none}": X: none', [((1, 1),)])


def test_the_first_stage_of_a_name_counts() -> None:
    text = (
        "FROM scratch AS code\nADD https://h.test/1 /\nFROM scratch AS code\nADD https://h.test/2 /\n"
        "FROM scratch\n"
    )
    _, bridge = lowered(text, **{ARG: "code"})
    assert [call["identifier"] for call in bridge.calls] == ["https://h.test/1"]


# -- results


def test_each_platform_of_several_has_its_own_result() -> None:
    text = "ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n"
    for platform, keys in (
        ("linux/arm64", ["source.date.epoch"]),
        ("linux/amd64,linux/arm64", ["source.date.epoch/linux/amd64", "source.date.epoch/linux/arm64"]),
    ):
        result = asyncio.run(DockerfileFrontend().build(bridge_of(text, platform=platform)))
        assert dict(result.metadata) == dict.fromkeys(keys, b"5")


def test_a_source_is_asked_about_once_for_all_platforms() -> None:
    text = "FROM scratch AS code\nADD https://h.test/f /\nFROM scratch\n"
    bridge = bridge_of(text, platform="linux/amd64,linux/arm64", **{ARG: "code"})
    made = asyncio.run(DockerfileFrontend().convert(bridge))
    assert [seconds(one) for one in made] == [MODIFIED, MODIFIED]
    assert len(bridge.calls) == 1


def test_a_named_context_is_loaded_once_for_all_platforms() -> None:
    attrs = {ARG: "named", "context:named": "docker-image://busybox:1.36"}
    bridge = bridge_of("FROM scratch\n", platform="linux/amd64,linux/arm64", **attrs)
    asyncio.run(DockerfileFrontend().convert(bridge))
    assert [call["kind"] for call in bridge.calls] == ["image", "source"]


# -- times


class Timeless(RecordedBridge):
    """A world whose servers say no times, and whose commit object is given."""

    commit = b""

    async def resolve_source(self, identifier: str, attrs: Any, *, log_name: str = "") -> ResolvedSource:
        return ResolvedSource(identifier=identifier, attrs=attrs, commit_object=self.commit)


def test_a_time_that_no_calendar_has_is_refused() -> None:
    member = tarfile.TarInfo("a")
    member.mtime = 1 << 60

    class Far(Timeless):
        async def read_source(self, source: str, path: str, offset: int, length: int) -> bytes:
            if path != "f":
                return await super().read_source(source, path, offset, length)
            return member.tobuf(tarfile.GNU_FORMAT)[offset : offset + length]

    text = "FROM scratch AS s\nADD https://h.test/f /\nFROM scratch\n"
    with pytest.raises(ProgramError, match="time out of range"):
        asyncio.run(
            DockerfileFrontend().convert(Far({"dockerfile": text, "frontend_attrs": {ARG: "s"}}, IMAGES))
        )


class Endless(Timeless):
    """A world whose archives have no end; ``reading`` is set once one is read."""

    reads = 0
    reading: asyncio.Event

    async def read_source(self, source: str, path: str, offset: int, length: int) -> bytes:
        if path != "f":
            return await super().read_source(source, path, offset, length)
        self.reads += 1
        if self.reads == 3:
            self.reading.set()
        member = tarball(("a", tarfile.REGTYPE, 1))[:1536]
        return (member * (length // len(member) + 2))[offset % len(member) :][:length]


def test_an_archive_is_read_no_further_once_nobody_waits_for_it() -> None:
    text = "FROM scratch AS s\nADD https://h.test/f /\nFROM scratch\n"
    bridge = Endless({"dockerfile": text, "frontend_attrs": {ARG: "s"}}, IMAGES)

    async def cancelled() -> int:
        bridge.reading = asyncio.Event()
        task = asyncio.create_task(DockerfileFrontend().convert(bridge))
        await asyncio.wait_for(bridge.reading.wait(), 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bridge.reads

    reads = asyncio.run(cancelled())  # which waits for the thread
    assert bridge.reads <= reads + 1


@pytest.mark.parametrize(
    ("commit", "message"),
    [
        (b"parent 1\nauthor a\ncommitter b\n\n", "invalid commit object: missing tree header"),
        (b"tree 1\ncommitter b <c> 1 +0000\n\n", "invalid commit object: missing author header"),
        (b"tree 1\nauthor a\n\ncommitter b <c> 1 +0000", "invalid commit object: missing committer header"),
    ],
)
def test_a_commit_that_is_none_is_refused(commit: bytes, message: str) -> None:
    bridge = Timeless(
        {"dockerfile": "FROM scratch\n", "frontend_attrs": {ARG: "context", "context": GIT}}, IMAGES
    )
    bridge.commit = commit
    with pytest.raises(ProgramError) as caught:
        asyncio.run(DockerfileFrontend().convert(bridge))
    assert (caught.value.diagnostics[0].message, caught.value.locations) == (message, ())


def test_a_committer_may_have_any_name_and_zone() -> None:
    commit = b"tree 1\nauthor x <> 5 +0000\ncommitter a > b <c> 1600000000 -0730\ngpgsig x\n y\n\nm\n"
    assert committer_time(commit).isoformat() == "2020-09-13T04:56:40-07:30"
    with pytest.raises(CommitError, match="out of range"):
        committer_time(commit.replace(b"1600000000", b"999999999999"))


def tarball(*members: tuple[str, bytes, float], form: int = tarfile.PAX_FORMAT, **pax: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=pax) as tar:
        for name, kind, mtime in members:
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, mtime  # type: ignore[assignment]
            member.linkname = "x" if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
            member.size = 700 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"y" * 700) if member.size else None)
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_only_regular_files_have_a_time(form: int) -> None:
    data = tarball(
        ("a", tarfile.REGTYPE, 7),
        ("d", tarfile.DIRTYPE, 90),
        ("l", tarfile.SYMTYPE, 91),
        ("h", tarfile.LNKTYPE, 92),
        ("x" * 90 + "/b", tarfile.REGTYPE, 8),
        ("c", tarfile.REGTYPE, 6),
        form=form,
    )
    assert newest_time(io.BytesIO(data)) == 8


def test_long_names_and_extended_headers_belong_to_the_next_member() -> None:
    names = tarball(("n" * 300, tarfile.REGTYPE, 9), ("b", tarfile.REGTYPE, 8), form=tarfile.GNU_FORMAT)
    assert newest_time(io.BytesIO(names)) == 9
    times = tarball(
        ("a", tarfile.REGTYPE, 1700000000.75), ("é" * 200, tarfile.REGTYPE, 3), ("b", tarfile.REGTYPE, 8)
    )
    assert newest_time(io.BytesIO(times)) == 1700000000
    assert newest_time(io.BytesIO(tarball(("a", tarfile.REGTYPE, -1.5)))) == -2
    everywhere = tarball(("a", tarfile.REGTYPE, 4), mtime="99")
    assert newest_time(io.BytesIO(everywhere)) == 4


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_archives_may_be_compressed_in_several_parts(compress: Callable[[bytes], bytes]) -> None:
    data = tarball(*((f"f{number}", tarfile.REGTYPE, number) for number in range(500)))
    assert newest_time(io.BytesIO(compress(data))) == 499
    assert newest_time(io.BytesIO(compress(data[:9999]) + compress(data[9999:]))) == 499
    with pytest.raises(ArchiveError):
        newest_time(io.BytesIO(compress(data[:400_000])))


@pytest.mark.parametrize(
    "data",
    [b"", b"FROM scratch\n", bytes(1024), b"\x1f\x8b\x08garbage", b"BZhx", b"\xfd7zXZ\x00", b"x" * 5000],
)
def test_what_is_no_archive_has_no_time(data: bytes) -> None:
    assert newest_time(io.BytesIO(data)) is None


def test_a_damaged_archive_is_an_error() -> None:
    data = tarball(("a", tarfile.REGTYPE, 1), ("b", tarfile.REGTYPE, 2))
    for broken in (data[:600], data[:1300], data[:1536] + b"x" * 2000):
        with pytest.raises(ArchiveError):
            newest_time(io.BytesIO(broken))


def test_a_header_may_not_claim_any_length() -> None:
    big = tarfile.TarInfo("x")
    big.type, big.size = b"x", 1 << 40  # type: ignore[assignment]
    data = tarball(("a", tarfile.REGTYPE, 1))[:1536] + big.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(ArchiveError, match="too long"):
        newest_time(io.BytesIO(data))


def test_a_pax_header_full_of_tiny_records_is_read_in_linear_time() -> None:
    """Four of them: whoever copies the rest of a header for each record copies hundreds of gigabytes."""
    records = b"6 a=b\n" * 174_000 + b"14 mtime=1234\n"
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    extended = header.tobuf() + records + bytes(-len(records) % 512)
    data = extended * 4 + tarfile.TarInfo("f").tobuf() + bytes(1024)
    assert newest_time(io.BytesIO(data)) == 1234
