# SPDX-License-Identifier: Apache-2.0
"""Invalid UTF-8 in a program: where BuildKit accepts it, and where it fails.

Go's strings hold any bytes. BuildKit expands a Dockerfile's words rune by rune and decodes JSON, so in most instructions such
a byte becomes U+FFFD; the bodies of COPY's heredocs and of scripts are bytes of files and stay. What goes into the graph as
it is written, such as the text of RUN, must be UTF-8, since protobuf's strings are: BuildKit fails there.
"""

from __future__ import annotations

from collections.abc import Iterable

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.golang.quote import UNDECODED
from llbkit.grammar import Span


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8."""
    return text.isascii() or UNDECODED.search(text) is None


def replaced(text: str) -> str:
    """Return a text with U+FFFD in place of invalid UTF-8."""
    return text if text.isascii() else UNDECODED.sub("\N{REPLACEMENT CHARACTER}", text)


def require_utf8(texts: Iterable[str], written: Span | None) -> None:
    """Raise if one of these texts cannot go into the graph; the error points at the byte in ``written``.

    Raises:
        ProgramError: one is not UTF-8.
    """
    for text in texts:
        if is_utf8(text):
            continue
        wrong = UNDECODED.search(text)
        found = UNDECODED.search(written.text) if written is not None else None
        span = None
        if found is not None and written is not None:
            span = written.source.span(written.start + found.start(), written.start + found.end())
        assert wrong is not None, "invalid UTF-8"
        raise errors.not_utf8(ord(wrong[0]) & 0xFF, span)
