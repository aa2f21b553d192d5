# SPDX-License-Identifier: Apache-2.0
"""Terminal output: escape control characters in untrusted text before it is printed.

Names of steps, errors, source lines, images and descriptions come from Dockerfiles, registries and files. They pass one of
two doors: the standard streams of the command line are `SafeStream`, and the live table, which steers the terminal itself,
puts every text through `one_line`.
"""

from __future__ import annotations

import io
from typing import BinaryIO, TextIO

from llbkit.llb.tools.names import seen


def one_line(text: str) -> str:
    """Return a text as one line with a mark for each character that cannot be seen."""
    return seen(" ".join(text.splitlines()))


class SafeStream(io.TextIOBase):
    """A text stream that marks characters which cannot be seen. What is written to its ``buffer`` stays as it is."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.raw = stream

    def write(self, text: str, /) -> int:
        """Write text without escape sequences, carriage returns and turns of the writing direction."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.raw.write(seen(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self.raw.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.raw.fileno()

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def close(self) -> None:
        """Keep the stream open: it belongs to the process."""

    @property
    def buffer(self) -> BinaryIO:
        """The binary stream below."""
        return self.raw.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self.raw.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What is done about text that cannot be encoded."""
        return self.raw.errors
