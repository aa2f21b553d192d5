# SPDX-License-Identifier: Apache-2.0
"""What goes wrong for users: one screen, a next step, the right exit code, and a state directory that still works."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def one_screen(text: str) -> bool:
    return len(text.splitlines()) <= 40


def test_a_misspelt_instruction_is_shown_with_a_suggestion(cli, project) -> None:
    done = cli.build(project("FROM base\nRUNN echo hi\n"), code=1)
    assert "Dockerfile:5" in done.stderr
    assert "RUNN echo hi" in done.stderr
    assert "^" in done.stderr
    assert "RUN" in done.stderr
    assert one_screen(done.stderr)


def test_a_missing_dockerfile_is_named(cli, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli.build(tmp_path / "empty", code=1)
    assert "Dockerfile" in done.stderr
    assert one_screen(done.stderr)


def test_a_missing_context_is_wrong_use(cli, tmp_path) -> None:
    done = cli.build(tmp_path / "nowhere", code=2)
    assert "does not exist" in done.stderr


def test_a_missing_source_file_points_at_its_line(cli, project) -> None:
    done = cli.build(project("FROM base\nCOPY settings.jsn /\n", {"settings.json": "{}"}), code=1)
    assert "settings.jsn" in done.stderr
    assert "COPY settings.jsn /" in done.stderr
    assert "settings.json" in done.stderr
    assert one_screen(done.stderr)


def test_a_missing_source_is_told_before_the_steps_above_it_have_run(cli, project) -> None:
    done = cli.build(project("FROM base\nRUN sleep 631; false\nCOPY nope /\n"), code=1)
    assert '"/nope" not found' in done.stderr
    assert "> COPY nope /" in done.stderr
    assert not _running("sleep 631")


def test_a_failing_command_shows_output_line_and_exit_code(cli, project) -> None:
    done = cli.build(project("FROM base\nRUN echo because; exit 7\n"), code=1)
    assert "because" in done.stderr
    assert "exit code: 7" in done.stderr
    assert "Dockerfile:5" in done.stderr


def test_an_unreachable_registry_is_told_from_a_missing_image(cli, project) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = cli.build(project(f"FROM 127.0.0.1:{port}/x:1\n"), code=1)
    assert f"127.0.0.1:{port}" in done.stderr
    assert "help:" in done.stderr
    assert one_screen(done.stderr)


def test_a_full_disk_loses_nothing(cli, project, tmp_path) -> None:
    """The state directory is a tmpfs that the build does not fit into; afterwards a smaller build works."""
    cli.root.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", os.fsencode(cli.root), b"tmpfs", 0, b"size=24m") == 0
    try:
        big = project("FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=64\n")
        done = cli.build(big, code=1)
        assert "No space left" in done.stderr
        assert one_screen(done.stderr)
        cli.build(
            project("FROM scratch\nCOPY Dockerfile /\n", base=False, name="small"), "-o", tmp_path / "out"
        )
        assert (tmp_path / "out" / "Dockerfile").exists()
    finally:
        libc.umount2(os.fsencode(cli.root), 2)


def test_a_state_directory_that_cannot_be_written_is_the_environments_fault(cli, project) -> None:
    cli.root.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", os.fsencode(cli.root), b"tmpfs", 1, b"size=1m") == 0  # read-only
    try:
        for argv in (["build", project("FROM base\n")], ["images"], ["du"]):
            done = cli.run(*argv, code=3)
            assert "Read-only" in done.stderr
            assert "--root" in done.stderr
    finally:
        libc.umount2(os.fsencode(cli.root), 2)


def test_without_a_runtime_the_environment_is_at_fault(cli, project) -> None:
    cli.environment["LLBKIT_RUNTIME"] = "/nonexistent/runc"
    done = cli.build(project("FROM base\nRUN true\n"), code=3)
    assert "runc" in done.stderr
    assert "help:" in done.stderr


def test_interrupting_kills_the_container_and_keeps_what_was_done(cli, project) -> None:
    folder = project("FROM base\nRUN echo done > /done\nRUN echo started; sleep 613\n")
    with _started(cli, folder) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait() == 130, rest
    assert "Traceback" not in rest
    assert not _running("sleep 613")
    (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text().replace("sleep 613", "true"))
    again = cli.build(folder)
    assert again.stderr.count("CACHED") >= 3


def test_a_reader_that_goes_away_ends_the_build(cli, project) -> None:
    """As in ``llbkit build ... | head``: whatever line is the last that is read, nothing hangs and nothing goes on."""
    folder = project("FROM base\nRUN echo started; sleep 619\n")
    for wanted in ("#1 ", "[internal] load build context", "RUN echo started"):
        process = subprocess.Popen(
            cli.argv("build", "--progress=plain", folder), env=cli.env(), stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if wanted in line:
                break
        process.stderr.close()
        if wanted.startswith("RUN"):
            process.send_signal(signal.SIGTERM)  # it prints no more
        assert process.wait(60) in (1, 143)
        assert not _running("sleep 619")


@pytest.mark.usefixtures("on_both_snapshotters")
def test_a_killed_build_leaves_a_usable_state(cli, project) -> None:
    folder = project("FROM base\nRUN echo done > /done\nRUN echo started; sleep 617\n")
    with _started(cli, folder) as process:
        process.kill()
    (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text().replace("sleep 617", "true"))
    again = cli.build(folder)
    assert again.stderr.count("CACHED") >= 3
    for _ in range(50):
        if not _running("sleep 617"):
            break
        time.sleep(0.1)
    assert not _running("sleep 617")


def test_a_wrong_flag_is_wrong_use(cli, project) -> None:
    folder = project("FROM base\n")
    assert "did you mean" in cli.run("biuld", folder, code=2).stderr
    assert "--secret" in cli.build(folder, "--secret", "id=x,src=/nowhere", code=2).stderr
    assert "type" in cli.build(folder, "-o", "type=floppy", code=2).stderr
    for flag in ("--metadata-file", "--iidfile"):
        assert flag in cli.build(folder, flag, "/nowhere/file", code=2).stderr


def test_a_required_secret_that_is_missing_names_the_flag(cli, project) -> None:
    done = cli.build(
        project("FROM base\nRUN --mount=type=secret,id=token,required=true cat /run/secrets/token\n"), code=1
    )
    assert "token" in done.stderr
    assert "--secret" in done.stderr


def _started(cli, folder: Path) -> subprocess.Popen[str]:
    """Return a build whose step has printed "started". Ctrl-C reaches it even if it is ignored around the tests."""
    process = subprocess.Popen(
        cli.argv("build", "--progress=plain", folder), env=cli.env(), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith("started") and "RUN" not in line:
            break
    return process


def _running(command: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(
                    errors="replace"
                ).strip() == command:
                    return True
            except OSError:
                continue
    return False


@pytest.mark.parametrize(
    "instruction",
    ["COPY a\0 /", "COPY busybox /a\0", "WORKDIR /\0", "ADD git@a\0b:c /x", "COPY <<\0 /x\na\n\0"],
)
def test_a_nul_byte_is_an_error_of_its_line(cli, project, instruction) -> None:
    done = cli.build(project(f"FROM scratch\nCOPY busybox /b\n{instruction}\n", base=False), code=1)
    assert "NUL byte" in done.stderr
    assert "Dockerfile:3" in done.stderr
    assert "internal error" not in done.stderr


def test_a_wrong_output_is_told_before_anything_is_built(cli, project, tmp_path) -> None:
    folder = project("FROM base\nRUN echo built\n")
    (tmp_path / "file").write_text("")
    for spec in (
        "type=oci,dest=x.tar,dset=y",
        "type=image,compression=foo",
        "type=registry",
        f"type=oci,dest={tmp_path}/missing/x.tar",
        f"type=tar,dest={tmp_path}",
        f"type=local,dest={tmp_path}/file",
    ):
        done = cli.build(folder, "-o", spec, code=2)
        assert "#1" not in done.stderr
        assert "error: --output type=" in done.stderr
    out = tmp_path / "x.tar"
    twice = cli.build(folder, "-o", f"type=oci,dest={out}", "-o", f"type=tar,dest={out}", code=2)
    assert str(out) in twice.stderr
