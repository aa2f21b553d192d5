# SPDX-License-Identifier: Apache-2.0
"""The modes of ``--chmod``."""

from __future__ import annotations

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.kit.values import modes


def read_mode(text: str) -> int | str | None:
    """Return a mode: a number, a symbolic change as it is, or None for an empty text.

    Raises:
        ProgramError: it is neither.
    """
    try:
        return modes.read_mode(text)
    except modes.ModeError as error:
        raise errors.chmod(error) from None
