# SPDX-License-Identifier: Apache-2.0
"""Escape sequences of Dockerfiles, images and names never come out of any command."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b5m\u202egnp\r"
HIDDEN = ("\x1b", "\x9b", "\u202e", "\x07")


def clean(text: str) -> bool:
    return not any(char in text for char in HIDDEN) and "\r" not in text.replace("\r\n", "")


@pytest.fixture
def folder(project):
    return project(
        f'FROM scratch AS x\nLABEL a="{EVIL}"\nCOPY f /{EVIL}\nCOPY missing\x1b\x9b5m\u202e\x07 /x\n',
        {"f": "x"},
        base=False,
    )


def test_failures_and_snippets_are_clean(cli, folder) -> None:
    for mode in ("plain", "quiet", "auto"):
        done = cli.run("build", f"--progress={mode}", folder, code=1)
        assert clean(done.stderr)
        assert "missing" in done.stderr
    done = cli.run("build", "--progress=rawjson", folder, code=1)
    assert clean(done.stderr)
    assert "\\u001b" in done.stderr


def test_lint_and_calls_are_clean(cli, project) -> None:
    folder = project(
        f"# {EVIL}\nfrom scratch as Stage\nMAINTAINER {EVIL}\nARG a={EVIL}\nCOPY f /\n", {"f": ""}, base=False
    )
    for words, code in ((("--check",), 1), (("--call=outline",), 0), (("--call=targets",), 0)):
        done = cli.run("build", *words, folder, code=code)
        assert clean(done.stdout)
        assert clean(done.stderr)


def test_syntax_errors_are_clean(cli, project) -> None:
    for text in (
        f"FROM scratch\nNONSENSE {EVIL}\n",
        f"FROM scratch\nRUN --mount=type={EVIL} x\n",
        f"FROM {EVIL}\n",
    ):
        done = cli.run("build", project(text, base=False), code=1)
        assert clean(done.stderr)


def test_usage_errors_are_clean(cli, project) -> None:
    folder = project("FROM scratch\n", base=False)
    for words in (("build", "-t", f"x{EVIL}", folder), (f"bui{EVIL}",), ("build", f"--ta{EVIL}", folder)):
        assert clean(cli.run(*words, code=2).stderr)


def test_usage_and_graphs_are_clean(cli, project, tmp_path) -> None:
    folder = project(f"FROM scratch\nCOPY f /{EVIL}\n", {"f": "x"}, base=False)
    cli.build(folder, "-t", "local/evil")
    for words in (("du",), ("images",)):
        assert clean(cli.run(*words).stdout)
    graph = tmp_path / "graph.pb"
    cli.run("compile", "-o", graph, folder)
    for words in (
        ("dump",),
        ("dump", "--format=json"),
        ("stats",),
        ("draw", "--format=dot"),
        ("draw", "--format=mermaid"),
        ("draw",),
    ):
        assert clean(cli.run("llb", *words, graph).stdout), words


def test_the_live_table_is_clean(cli, folder) -> None:
    """On a terminal, only our own sequences are left: colours, the cursor, clearing of lines."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.argv("build", "--progress=tty", folder),
        env=cli.env() | {"NO_COLOR": "1", "TERM": "xterm"},
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the terminal was closed
        pass
    os.close(ours)
    assert process.wait() == 1
    text = said.decode()
    assert "[31m" not in text.replace("�[31m", "")
    assert "\x1b]0" not in text
    assert not any(char in text for char in HIDDEN[1:])
