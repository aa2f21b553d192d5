# SPDX-License-Identifier: Apache-2.0
"""No text from outside reaches a terminal with what could steer it."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.progress.plain import PlainDisplay
from llbkit.progress.terminal import SafeStream, one_line
from llbkit.progress.tty import TTYDisplay
from llbkit.solver.events import VertexAdded, VertexCompleted, VertexStarted, VertexStatus, VertexWarning

STEERING = {
    "escape": "\x1b[31;5m", "title": "\x1b]0;x\x07", "c1": "\x9b31m", "return": "\r", "override": "\u202e",
    "isolate": "\u2066", "null": "\0", "backspace": "\b\b", "separator": "\u2028", "byte": "\udc9b",
    "delete": "\x7f", "width": "\u200b", "tag": "\U000e0041", "order": "\ufeff",
}  # fmt: skip


def harmless(text: str) -> bool:
    return all(
        char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text
    )


@given(st.text(st.characters() | st.sampled_from([*"".join(STEERING.values())])))
def test_streams_print_what_can_be_seen_only(text) -> None:
    below = io.StringIO()
    assert SafeStream(below).write(text) == len(text)
    assert harmless(below.getvalue())
    assert len(below.getvalue()) == len(text)
    assert "\n" not in one_line(text)
    assert harmless(one_line(text))


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_words_of_any_language_stay_as_they_are(text) -> None:
    below = io.StringIO()
    SafeStream(below).write(text)
    assert below.getvalue() == text


def test_a_stream_takes_text_only() -> None:
    with pytest.raises(TypeError):
        SafeStream(io.StringIO()).write(b"bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize("display", [PlainDisplay, TTYDisplay])
@pytest.mark.parametrize("bad", STEERING.values(), ids=STEERING)
def test_displays_show_names_errors_and_statuses_without_it(monkeypatch, display, bad) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    text = f"before{bad}after\n#9 DONE"
    with display(stream) as shown:
        shown(VertexAdded(digest="a", name=text, inputs=(), group=""))
        shown(VertexStarted(digest="a", time=1.0))
        shown(
            VertexStatus(
                id=text, digest="a", name=text, current=1, total=2, time=1.0, started=1.0, completed=None
            )
        )
        shown(VertexWarning(digest="a", level=1, short=text))
        shown(VertexCompleted(digest="a", time=2.0, error=text))
    said = stream.getvalue()
    assert harmless(said)
    assert "before" in said
    assert not any(line.startswith("#9") for line in said.splitlines())
