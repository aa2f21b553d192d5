# SPDX-License-Identifier: Apache-2.0
"""JSON as Go's encoder writes it: its escapes, U+FFFD for what is no UTF-8."""

from __future__ import annotations

import json
import re

from frontends.dockerfile.utf8 import replaced

_ESCAPED = re.compile("[<>&\u2028\u2029]")


def go_json(value: object, *, indent: int | None = None) -> bytes:
    """Return a value in Go's JSON: compact, or ``indent``ed."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, separators=separators, indent=indent, ensure_ascii=False)
    text = _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return replaced(text).encode()
