# SPDX-License-Identifier: Apache-2.0
"""Progress displays: one event model, several renderings."""

from __future__ import annotations

from typing import TextIO

from llbkit.progress.display import Display
from llbkit.progress.terminal import SafeStream

MODES = ("auto", "tty", "plain", "rawjson", "quiet", "none")


def open_display(mode: str, stream: TextIO) -> Display:
    """Return the display of ``mode``; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere."""
    if mode == "auto":
        mode = "tty" if stream.isatty() else "plain"
    match mode:
        case "tty":
            from llbkit.progress.tty import TTYDisplay

            return TTYDisplay(stream.raw if isinstance(stream, SafeStream) else stream)
        case "plain":
            from llbkit.progress.plain import PlainDisplay

            return PlainDisplay(stream)
        case "rawjson":
            from llbkit.progress.rawjson import RawJSONDisplay

            return RawJSONDisplay(stream)
        case _:
            return Display()


__all__ = ["MODES", "Display", "open_display"]
