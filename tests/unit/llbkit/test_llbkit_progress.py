# SPDX-License-Identifier: Apache-2.0
"""Displays: what users read while a build runs."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import struct
import termios

import pytest

from llbkit.progress import open_display
from llbkit.progress.model import StepView, printable
from llbkit.progress.summary import Summary
from llbkit.request.values import Output
from llbkit.solver.events import (
    VertexAdded,
    VertexCompleted,
    VertexLog,
    VertexStarted,
    VertexStatus,
    VertexWarning,
)


def play(mode: str, *events) -> str:
    stream = io.StringIO()
    with open_display(mode, stream) as display:
        for event in events:
            display(event)
    return stream.getvalue()


def added(name: str) -> VertexAdded:
    return VertexAdded(digest=f"sha256:{name}", name=name, inputs=())


def started(name: str, time: float = 0.0) -> VertexStarted:
    return VertexStarted(digest=f"sha256:{name}", time=time)


def log(name: str, text: str, time: float = 0.0) -> VertexLog:
    return VertexLog(digest=f"sha256:{name}", stream=1, data=text.encode(), time=time)


def completed(name: str, time: float = 0.0, **fields) -> VertexCompleted:
    return VertexCompleted(digest=f"sha256:{name}", time=time, **fields)


def test_plain_tells_one_step_after_the_other() -> None:
    text = play(
        "plain", added("RUN a"), started("RUN a", 10), log("RUN a", "hel", 11), log("RUN a", "lo\n", 11.5),
        completed("RUN a", 12),
        added("RUN b"), completed("RUN b", 12, cached=True),
    )  # fmt: skip
    assert text == "#1 RUN a\n#1 1.500 hello\n#1 DONE 2.0s\n\n#2 RUN b\n#2 CACHED\n"


def test_plain_does_not_mix_the_output_of_parallel_steps() -> None:
    text = play(
        "plain", added("a"), added("b"), started("a", 1), started("b", 1), log("a", "a1\n", 1), log("b", "b1\n", 1),
        log("a", "a2\n", 2), completed("a", 3), completed("b", 3),
    )  # fmt: skip
    assert text == "#1 a\n#1 0.000 a1\n#1 1.000 a2\n#1 DONE 2.0s\n\n#2 b\n#2 0.000 b1\n#2 DONE 2.0s\n"


def test_plain_lets_others_speak_when_a_step_takes_long() -> None:
    text = play(
        "plain", added("a"), added("b"), started("a", 1), started("b", 1), log("b", "b1\n", 2), log("a", "a1\n", 9),
    )  # fmt: skip
    assert "#1 ...\n\n#2 b\n#2 1.000 b1\n" in text


def test_a_failed_step_does_not_repeat_its_command() -> None:
    error = 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
    text = play("plain", added("a"), started("a", 1), log("a", "cause"), completed("a", 2, error=error))
    assert text.endswith("#1 ERROR: exit code: 1\n")
    assert "/bin/sh" not in text


def test_a_cancelled_step_is_no_error() -> None:
    text = play("plain", added("a"), started("a", 1), completed("a", 2, error="context canceled"))
    assert text == "#1 a\n#1 CANCELED\n"


def test_tty_leaves_the_whole_table() -> None:
    text = play(
        "tty", added("a"), started("a", 1), completed("a", 2.5), added("b"), completed("b", 3, cached=True)
    )
    assert "(2/2) FINISHED" in text
    assert "=> a" in text
    assert "1.5s" in text
    assert "=> CACHED b" in text


def test_rawjson_has_the_keys_of_buildkit() -> None:
    status = VertexStatus(
        id="x", digest="sha256:a", name="downloading", current=5, total=10, time=1.5, started=1.0
    )
    warning = VertexWarning(digest="sha256:a", short="Rule: text")
    lines = [
        json.loads(line)
        for line in play(
            "rawjson", added("a"), started("a", 1.25), log("a", "hi"), status, warning, completed("a", 2)
        ).splitlines()
    ]
    assert lines[0] == {"vertexes": [{"digest": "sha256:a", "name": "a"}]}
    assert lines[1]["vertexes"][0]["started"] == "1970-01-01T00:00:01.250000000Z"
    assert base64.b64decode(lines[2]["logs"][0]["data"]) == b"hi"
    assert lines[3]["statuses"][0]["current"] == 5
    assert base64.b64decode(lines[4]["warnings"][0]["short"]) == b"Rule: text"
    assert lines[5]["vertexes"][0]["completed"] == "1970-01-01T00:00:02.000000000Z"


def test_quiet_shows_nothing() -> None:
    failed = completed("a", error="exit code: 1")
    assert play("quiet", added("a"), started("a"), log("a", "said\n"), failed) == ""


@pytest.mark.parametrize(
    ("error", "said"), [("exit code: 1", "FAILED"), ("context canceled", "CANCELED"), ("", "FINISHED")]
)
def test_the_table_tells_how_the_build_ended(error: str, said: str) -> None:
    text = play("tty", added("a"), started("a", 1), completed("a", 2, error=error))
    assert f"(1/1) {said}\n" in text.replace("\x1b[0m", "")


def test_a_summary_names_what_was_made_and_what_took_long() -> None:
    summary = Summary()
    for event in (
        *(added("[internal] load"), started("[internal] load", 1), completed("[internal] load", 9)),
        *(added("a"), completed("a", 2, cached=True), added("b"), started("b", 1), completed("b", 3.5)),
        *(added("c"), started("c", 1), completed("c", 1.1)),
    ):
        summary(event)
    response = {"image.name": "docker.io/library/app:1", "containerimage.digest": "sha256:0"}
    outputs = [Output(type="image"), Output(type="oci", dest="x.tar")]
    assert summary.lines(response, outputs, size=1500, seconds=4.25) == [
        "Built app:1 in 4.2s",
        "  image   sha256:0, 1.50kB",
        "  output  x.tar (oci)",
        "  steps   2 run, 1 cached; slowest: b (2.5s)",
    ]
    unnamed = summary.lines({"containerimage.digest": "sha256:0"}, outputs, size=1, seconds=1)
    assert "use --tag" in unnamed[2]


def test_process_output_cannot_steer_the_terminal() -> None:
    assert printable(b"\x1b[2J\x1b]0;title\x07ok\x00") == "ok\N{REPLACEMENT CHARACTER}"
    assert printable(b"10%\r100%") == "100%"


def test_a_line_that_never_ends_is_shown_in_pieces() -> None:
    """Bytes are looked at a bounded number of times, and no character is torn."""
    step = StepView("sha256:a", "a")
    data = "x€".encode() * 200_000
    lines = []
    for start in range(0, len(data), 50_000):
        lines += step.take_lines(data[start : start + 50_000])
        assert len(step.partial) < 1 << 17
    assert len(lines) > 5
    assert "".join([*lines, *step.rest_line()]) == "x€" * 200_000
    assert step.take_lines(b"\xff" * 70_000) != []
    assert step.take_lines(b"\x80" * 70_000) != []


@pytest.mark.parametrize("width", [0, 1, 3, 8])
def test_tty_fits_any_terminal_also_one_that_tells_no_width(width: int) -> None:
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with (
        os.fdopen(controller, "rb"),
        os.fdopen(terminal, "w") as stream,
        open_display("tty", stream) as display,
    ):
        for event in (added("a" * 100), started("a" * 100, 1), completed("a" * 100, 2.5)):
            display(event)


@pytest.mark.parametrize(
    ("identity", "name", "shown"),
    [
        ("extracting sha256:" + "a" * 64, "extracting", "extracting sha256:" + "a" * 64),
        ("sha256:" + "a" * 64, "pushing layer " + "a" * 12, "pushing layer " + "a" * 12),
        ("out.tar", "writing", "writing out.tar"),
        ("x", "", "x"),
    ],
)
def test_plain_names_the_subject_of_a_status_once(identity: str, name: str, shown: str) -> None:
    status = VertexStatus(id=identity, digest="sha256:a", name=name, current=1, total=2, time=1, started=1)
    assert f"#1 {shown} 1B / 2B\n" in play("plain", added("a"), started("a", 1), status)
