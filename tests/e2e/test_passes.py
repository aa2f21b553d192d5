# SPDX-License-Identifier: Apache-2.0
"""Builds with passes and without: the same bytes, the same cache, errors at the same lines."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = pytest.mark.root

PROGRAM = """
FROM scratch AS assets
COPY a /assets/a
WORKDIR /assets/more
COPY sub /assets/sub

FROM scratch AS flat
COPY --from=base / /

FROM base AS tool
COPY a /tool/a
WORKDIR /tool
RUN echo made > /tool/out

FROM base
COPY --from=assets /assets /assets
COPY --from=flat /bin/busybox /flat/busybox
COPY --from=tool /tool/out /out
COPY a /one
COPY a /two
COPY --link sub /linked/
WORKDIR /work
RUN --mount=type=bind,from=assets,target=/m find /m | sort > /list
"""
FILES = {"a": "a\n", "sub/b": "b\n", "sub/c": "c\n"}
EPOCH = ("--build-arg", "SOURCE_DATE_EPOCH=1000000000")


def without_passes(cli, tmp_path) -> None:
    """Go on with an empty state directory, and no passes."""
    cli.root = tmp_path / "without" / "state"
    cli.environment["LLBKIT_PASSES"] = "off"


def test_an_exported_image_is_the_same_bytes_without_passes(cli, project, tmp_path) -> None:
    folder = project(PROGRAM, FILES)
    told = cli.run("compile", "--explain-passes", folder).stdout
    for name in ("fuse", "scratch-copies"):
        assert f"{name}: nothing to do" not in told
    output = "type=oci,rewrite-timestamp=true,name=x:1,dest={}"
    cli.build(folder, "-o", output.format(tmp_path / "with.tar"), *EPOCH)
    without_passes(cli, tmp_path)
    assert cli.run("compile", "--explain-passes", folder).stdout == "passes are off\n"
    cli.build(folder, "-o", output.format(tmp_path / "without.tar"), *EPOCH)
    assert (tmp_path / "with.tar").read_bytes() == (tmp_path / "without.tar").read_bytes()


def test_a_directory_that_is_written_is_the_same_without_passes(cli, project, tmp_path) -> None:
    """Here only files are seen of the head, so its file ops are fused as well."""
    folder = project(PROGRAM.partition("FROM base AS tool")[0] + "FROM assets\n", FILES)
    cli.build(folder, "-o", f"type=tar,dest={tmp_path / 'with.tar'},source-date-epoch=1000000000")
    without_passes(cli, tmp_path)
    cli.build(folder, "-o", f"type=tar,dest={tmp_path / 'without.tar'},source-date-epoch=1000000000")
    assert (tmp_path / "with.tar").read_bytes() == (tmp_path / "without.tar").read_bytes()


def test_what_was_built_without_passes_is_found_with_them(cli, project, tmp_path) -> None:
    """Fused steps have keys of their own; no process and no user of their files is executed again for that."""
    folder = project(PROGRAM, FILES)
    cli.environment["LLBKIT_PASSES"] = "off"
    cli.build(folder, "-o", "type=cacheonly")
    del cli.environment["LLBKIT_PASSES"]
    again = cli.run("build", "--progress=rawjson", "-o", "type=cacheonly", folder)
    assert ran(again.stderr) <= {"[assets 1/3] COPY a /assets/a", "fused"}


def test_a_stage_that_is_built_by_itself_finds_its_processes(cli, project) -> None:
    folder = project(PROGRAM, FILES)
    cli.build(folder, "-o", "type=cacheonly")
    done = ran(cli.run("build", "--progress=rawjson", "--target=tool", "-o", "type=cacheonly", folder).stderr)
    assert not {name for name in done if "RUN" in name or "[tool" in name}


def ran(events: str) -> set[str]:
    """Return the names of the steps that were executed, fused ones as "fused"."""
    names: dict[str, str] = {}
    done: set[str] = set()
    for line in events.splitlines():
        for vertex in json.loads(line).get("vertexes") or []:
            names[vertex["digest"]] = vertex["name"]
            if vertex.get("completed") and not vertex.get("cached"):
                done.add(vertex["digest"])
    found = {names[digest] for digest in done}
    return {"fused" if " + " in name else name for name in found if "COPY" in name or "RUN" in name}


def test_a_failure_in_a_fused_step_is_shown_at_its_own_line(cli, project) -> None:
    folder = project(
        "FROM scratch AS assets\nCOPY a /assets/\nWORKDIR /assets/a/below\n"
        "FROM base\nCOPY --from=assets /assets /assets\n",
        FILES,
    )
    with_passes = cli.build(folder, code=1).stderr
    assert "WORKDIR /assets/a/below" in with_passes.rpartition("error")[2]
    cli.environment["LLBKIT_PASSES"] = "off"
    error = cli.build(folder, code=1).stderr.rpartition("error")[2]
    assert error == with_passes.rpartition("error")[2]


def test_the_setting_is_checked(cli, project) -> None:
    cli.environment["LLBKIT_PASSES"] = "sometimes"
    assert "is not on or off" in cli.build(project("FROM base\n"), code=2).stderr
    assert "LLBKIT_PASSES" not in os.environ
