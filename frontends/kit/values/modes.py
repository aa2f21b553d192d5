# SPDX-License-Identifier: Apache-2.0
"""File modes: octal numbers, and symbolic changes such as ``u=rwX,go=rX``."""

from __future__ import annotations

import re
import string

_OCTAL, _LARGEST = re.compile(r"[0-7]+"), 0o7777
_SYMBOLIC = re.compile(r"[ugoa]*(?:[-+=][ugorwxXst]*)+")


class ModeError(ValueError):
    """A mode is malformed; the message is BuildKit's. ``symbolic``: it was meant as a symbolic change."""

    def __init__(self, message: str, *, symbolic: bool = False) -> None:
        super().__init__(message)
        self.symbolic = symbolic


def read_mode(text: str) -> int | str | None:
    """Return a mode: a number, a symbolic change as it is, or None for an empty text.

    Raises:
        ModeError: it is neither.
    """
    if not text:
        return None
    if _OCTAL.fullmatch(text):
        value = int(text, 8)
        if value > _LARGEST:
            raise ModeError(
                f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )
        return value
    if text[0] in string.digits:
        raise ModeError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
    if not all(_SYMBOLIC.fullmatch(part) for part in text.split(",")):
        raise ModeError("invalid syntax", symbolic=True)
    return text
