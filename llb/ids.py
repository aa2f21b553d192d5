# SPDX-License-Identifier: Apache-2.0
"""Ids that nothing else has: of sessions, progress groups and vertices that must not be shared."""

from __future__ import annotations

import secrets

_LETTERS = 25
"""As many as the ids of BuildKit have."""


def new_id() -> str:
    """Return an id of 25 lower-case letters and digits, with 100 random bits."""
    return secrets.token_hex((_LETTERS + 1) // 2)[:_LETTERS]
