# SPDX-License-Identifier: Apache-2.0
"""JSON as Go's encoder writes it: its escapes, U+FFFD for invalid UTF-8."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from llbkit.frontends.kit.golang.utf8 import replaced

_ESCAPED = re.compile("[<>&\u2028\u2029]")


def go_json(value: object, *, indent: int | None = None) -> bytes:
    """Return a value in Go's JSON: compact, or ``indent``ed."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, separators=separators, indent=indent, ensure_ascii=False)
    text = _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return replaced(text).encode()


def read_json(text: str, made: Callable[[list[tuple[str, Any]]], object] | None = None) -> object:
    """Return a JSON value; ``made`` makes its objects.

    Raises:
        ValueError: it is none; the message is that of Go's decoder where it is known.
    """
    try:
        return json.loads(text, object_pairs_hook=made)
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc):
            raise ValueError("unexpected end of JSON input") from None
        if error.msg == "Expecting value":
            found = error.doc[error.pos]
            raise ValueError(f"invalid character '{found}' looking for beginning of value") from None
        raise


def json_kind(value: object) -> str:
    """Return what Go's decoder calls the type of a JSON value."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
