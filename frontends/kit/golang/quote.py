# SPDX-License-Identifier: Apache-2.0
"""Text as Go quotes it."""

from __future__ import annotations

import re

UNDECODED = re.compile("[\ud800-\udfff]")
"""A byte that is not UTF-8 (as `llbkit.grammar.Source` keeps it), or half of a surrogate pair."""

_GO_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def go_quote(text: str) -> str:
    r"""Return ``text`` as a double-quoted Go string (``%q``); undecodable bytes become ``\xNN``."""
    return f'"{"".join(map(_quote_rune, text))}"'


def _quote_rune(char: str) -> str:
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    code = ord(char)
    if char == " " or char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
