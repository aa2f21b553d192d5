# SPDX-License-Identifier: Apache-2.0
"""What BuildKit's frontend was seen to do with long lines, drives of Windows images, scripts and devices of RUN."""

from __future__ import annotations

import asyncio

import pytest

from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.syntax.lines import MOST_BYTES
from llbkit.grammar import Diagnostic, DiagnosticError
from llbkit.llb.ir.ops import CDIDevice, Exec, File, MkFile
from tests.unit.dockerfile.test_dockerfile_as_buildkit import FROM, bridge_of, lower

WINDOWS = "FROM mcr.example.test/windows/nano:ltsc\n"
DRIVE = "The specified path is not on the system drive (C:)"
LONG = f"dockerfile line greater than max allowed size of {MOST_BYTES}"
FULL = "x" * MOST_BYTES


def faults(text: str, *, labs: bool = False, **attrs: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        asyncio.run(DockerfileFrontend(labs=labs).convert(bridge_of(text, **attrs)))
    return caught.value.diagnostics


def place(found: Diagnostic) -> list[tuple[int, int]]:
    return [(span.start_line, span.end_line) for span in found.spans]


# -- lines


@pytest.mark.parametrize(
    ("text", "message", "lines"),
    [
        (f"{FROM}RUN {FULL}\n", LONG, [(1, 1)]),
        (f"{FROM}RUN {FULL}", LONG, [(1, 1)]),
        (f"{FROM}\n\n#{FULL}\nBOGUS\n", LONG, [(3, 3)]),
        (f"{FROM}BOGUS\nRUN {FULL}\n", LONG, [(2, 2)]),
        (f"{FROM}ENV A={'y' * (MOST_BYTES - 6)}\r\n", LONG, [(1, 1)]),
        (f"{FROM}ENV A={'é' * (MOST_BYTES // 2)}\n", LONG, [(1, 1)]),
        (f"# c\n#{FULL}\n{FROM}", "file with no instructions", [(1, 1)]),
        (f"#{FULL}\n{FROM}", "file with no instructions", []),
        (f"# syntax={FULL}\n{FROM}", "file with no instructions", []),
        (f"{FROM}RUN <<E\n{FULL}x\nE\n", "unterminated heredoc", [(2, 2)]),
        (f"{FROM}RUN a \\\n{FULL}x\nRUN b\n", LONG, [(3, 3)]),
        (f"{FROM}RUN a \\\n#{FULL}\nRUN b\n", LONG, [(3, 3)]),
        (f"{FROM}RUN a \\\nENV {FULL}\n", "ENV must have two arguments", [(3, 3)]),
    ],
)
def test_a_line_that_is_too_long_ends_the_file(text: str, message: str, lines: list[tuple[int, int]]) -> None:
    found = faults(text)[0]
    assert (found.message, place(found)) == (message, lines)


@pytest.mark.parametrize(
    "line",
    [
        f"ENV A={'y' * (MOST_BYTES - 6)}\n",
        f"ENV A={'y' * (MOST_BYTES - 7)}\r\n",
        f"ENV A={'é' * ((MOST_BYTES - 6) // 2)}\n",
        f"ENV A=b\\\n{FULL}\n",
        f"RUN <<E\n{FULL}\n{FULL}\nE\n",
        f"#{'c' * (MOST_BYTES - 1)}\n",
    ],
)
def test_a_line_of_the_greatest_length_is_read(line: str) -> None:
    assert lower(FROM + line)


def test_what_else_is_wrong_around_a_long_line_is_told_of_too() -> None:
    found = faults(f"{FROM}RNU a\nRUN {FULL}\nCMD [1]\nFOO b\n")
    assert (found[0].message, place(found[0])) == (LONG, [(2, 2)])
    assert [one.span.text for one in found[1:] if one.span] == ["RNU", "CMD [1]", "FOO"]
    assert found[0].related[0].span.start_line == 3


# -- drives


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY a d:/x", f"removing drive letter: {DRIVE}"),
        ("COPY d:/a x", f"removing drive letter: removing drive letter: {DRIVE}"),
        ("COPY --parents c:/a/./d:/b x", f"removing drive letter: removing drive letter: {DRIVE}"),
        ("COPY --parents d:/b x", f"removing drive letter: removing drive letter: {DRIVE}"),
        ("ADD //h/s x", "removing drive letter: removing drive letter: UNC paths are not supported"),
        ("COPY a c:", 'removing drive letter: No relative path specified in "c:"'),
        ("COPY <<d:/f x\nt\nd:/f", f"removing drive letter: {DRIVE}"),
        (
            "WORKDIR d:/x",
            f"normalizing workdir: normalizing working directory: removing drive letter: {DRIVE}",
        ),
        (
            "WORKDIR c:",
            'normalizing workdir: normalizing working directory: removing drive letter: No relative path specified in "c:"',
        ),
    ],
)
def test_a_drive_that_is_none_is_named_with_what_was_done(line: str, message: str) -> None:
    found = faults(f"{WINDOWS}{line}\n", platform="windows/amd64")[0]
    assert (found.message, found.code) == (message, "path")


def test_a_relative_working_directory_is_warned_of_before_its_drive_is_refused() -> None:
    bridge = bridge_of(f"{WINDOWS}WORKDIR c:\n", platform="windows/amd64")
    with pytest.raises(DiagnosticError):
        asyncio.run(DockerfileFrontend().convert(bridge))
    assert [warning.code for warning in bridge.warnings] == ["WorkdirRelativePath"]


# -- scripts


def script_of(text: str) -> tuple[Exec, list[bytes]]:
    ops = [vertex.op for vertex in lower(f"{FROM}{text}").state.graph()]
    files = [
        step.action.data
        for op in ops
        if isinstance(op, File)
        for step in op.actions
        if isinstance(step.action, MkFile)
    ]
    (found,) = [op for op in ops if isinstance(op, Exec)]
    return found, files


def test_tabs_are_dropped_before_a_shebang_is_looked_for() -> None:
    op, files = script_of("RUN <<-S\n\t\t#!/bin/awk -f\n\tBEGIN {}\n\tS\n")
    assert op.meta.args == ("/bin/sh", "-c", "/dev/pipes/S")
    assert files == [b"#!/bin/awk -f\nBEGIN {}\n"]
    assert [(m.dest, m.readonly, m.selector) for m in op.mounts][1:] == [("/dev/pipes/", True, "/")]


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("RUN <<-S\n\t #!/bin/sh\n\tS\n", " #!/bin/sh\n"),
        ("RUN <<S\n\t#!/bin/sh\nS\n", "\t#!/bin/sh\n"),
    ],
)
def test_what_stands_before_a_shebang_makes_it_text(text: str, argument: str) -> None:
    op, files = script_of(text)
    assert (op.meta.args[2], files) == (argument, [])


# -- devices


@pytest.mark.parametrize(
    ("flag", "device"),
    [
        ("v/c=all", CDIDevice(name="v/c=all", optional=True)),
        ("gpu,required", CDIDevice(name="gpu", optional=False)),
        ("REQUIRED=1,NAME=a/b=c", CDIDevice(name="a/b=c", optional=False)),
        ("x=y", CDIDevice(name="x=y", optional=True)),
        ("name=,gpu", CDIDevice(name="gpu", optional=True)),
        ("required,required=false,gpu", CDIDevice(name="gpu", optional=True)),
        ("required", CDIDevice(name="", optional=False)),
    ],
)
def test_devices_are_read_as_buildkit_reads_them(flag: str, device: CDIDevice) -> None:
    bridge = bridge_of(f"{FROM}RUN --device={flag} x\n")
    (made,) = asyncio.run(DockerfileFrontend(labs=True).convert(bridge))
    assert [v.op.cdi_devices for v in made.state.graph() if isinstance(v.op, Exec)] == [(device,)]


@pytest.mark.parametrize("labs", [False, True])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--device=a,name=b", "device name already set to a"),
        ("--device=a,b", "invalid field 'b' must be a key=value pair"),
        ("--device=a,name", "invalid field 'name' must be a key=value pair"),
        ("--device=a,b=c", "unexpected key 'b' in 'b=c'"),
        ("--device=a,b/c=d", "unexpected key 'b/c' in 'b/c=d'"),
        ("--device=a,Requird=1", "unexpected key 'requird' in 'Requird=1' (did you mean required?)"),
        ("--device=a,required=maybe", "invalid value for required: maybe"),
        ("--device=", "failed to parse csv devices: EOF"),
        ("--mount=from=$x --network=no --device=a,b", "invalid field 'b' must be a key=value pair"),
    ],
)
def test_devices_are_read_before_anything_is_asked_for(flags: str, message: str, labs: bool) -> None:
    bridge = bridge_of(f"{FROM}FROM scratch\nRUN {flags} x\n")
    with pytest.raises(DiagnosticError) as caught:
        asyncio.run(DockerfileFrontend(labs=labs).convert(bridge))
    assert caught.value.diagnostics[0].message == f"dockerfile parse error on line 3: {message}"
    assert bridge.calls == []


def test_a_device_is_an_error_of_the_instruction_where_the_channel_has_none() -> None:
    found = faults(f"{FROM}RUN --device=v/c=all x\n")[0]
    assert found.message.startswith("device feature is only supported in Dockerfile frontend")


def test_a_device_of_a_trigger_has_no_prefix() -> None:
    text = f"{FROM.strip()} AS b\nONBUILD RUN --device=a,b x\nFROM b\n"
    found = faults(text)[0]
    assert (found.message, place(found)) == ("invalid field 'b' must be a key=value pair", [(3, 3)])
