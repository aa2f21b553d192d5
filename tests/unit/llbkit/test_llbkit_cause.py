# SPDX-License-Identifier: Apache-2.0
"""Failures point at the word that caused them."""

from __future__ import annotations

import pytest

from llbkit.cli.cause import find_cause, last_lines
from llbkit.cli.failure import explain
from llbkit.grammar import Source
from llbkit.solver.errors import VertexError
from llbkit.worker.base import ExecError

TEXT = "FROM base\nRUN make all && \\\n    cat /nosuch && \\\n    make /nosuch.d\nCOPY dir/a.txt b.txt /x/\n"


def spans_of(first: int, last: int):
    source = Source("Dockerfile", TEXT)
    return tuple(source.lines(number, number) for number in range(first, last + 1))


@pytest.mark.parametrize(
    ("lines", "said", "line", "word"),
    [
        ((2, 4), "cat: can't open '/nosuch': No such file or directory", 3, "/nosuch"),
        ((2, 4), "/bin/sh: 1: cat: not found", 3, "cat"),
        ((2, 4), "/bin/sh: make: not found", 2, "RUN"),  # it is there twice
        ((2, 4), "something else", 2, "RUN"),
        ((5, 5), '"/b.txt": not found', 5, "b.txt"),
        ((5, 5), 'failed to compute cache key: "/dir/a.txt": not found', 5, "dir/a.txt"),
        ((5, 5), '"/a": not found', 5, "COPY"),
    ],
)
def test_the_word_that_is_complained_about_is_shown(lines, said, line, word) -> None:
    span = find_cause(spans_of(*lines), [said])[0]
    assert (span.start_line, span.text) == (line, word)


def test_a_precise_span_stays() -> None:
    source = Source("Dockerfile", TEXT)
    span = source.span(14, 18)
    assert find_cause([span], ["nothing"]) == (span,)


def test_a_failed_process_is_shown_with_its_command_once_and_its_last_output() -> None:
    cause = ExecError(
        'process "/bin/sh -c make all" did not complete successfully: exit code: 2',
        exit_code=2,
        output=b"\x1b[31mone\n" * 30 + b"make: *** No rule\n",
    )
    text, code = explain(VertexError("sha256:0", "[2/3] RUN make all", spans_of(2, 4), cause))
    assert code == 1
    assert text.splitlines()[0] == "error: failed to solve: [2/3] did not complete successfully: exit code: 2"
    assert text.count("make all") == 1
    assert text.splitlines()[-11:] == ["last output:", *["  one"] * 9, "  make: *** No rule"]
    assert last_lines(b"") == []
