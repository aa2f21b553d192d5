# SPDX-License-Identifier: Apache-2.0
"""The modes of ``--chmod``: octal numbers, and symbolic changes such as ``u=rwX,go=rX``."""

from __future__ import annotations

import re
import string

from llbkit.frontends.dockerfile.errors import texts as errors

_OCTAL, _LARGEST = re.compile(r"[0-7]+"), 0o7777
_SYMBOLIC = re.compile(r"[ugoa]*(?:[-+=][ugorwxXst]*)+")


def read_mode(text: str) -> int | str | None:
    """Return a mode: a number, a symbolic change as it is, or None for an empty text.

    Raises:
        ProgramError: it is neither.
    """
    if not text:
        return None
    if _OCTAL.fullmatch(text):
        value = int(text, 8)
        if value > _LARGEST:
            raise errors.chmod(text)
        return value
    if text[0] in string.digits:
        raise errors.chmod(text)
    if not all(_SYMBOLIC.fullmatch(part) for part in text.split(",")):
        raise errors.symbolic_chmod()
    return text
