# SPDX-License-Identifier: Apache-2.0
"""The committer time of a git commit object."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_COMMITTER = re.compile(rb".*> (\d{1,12}) ([+-])(\d\d)(\d\d)", re.DOTALL)
_HEADERS = (b"tree", b"author", b"committer")


class CommitError(ValueError):
    """A commit object is malformed."""


def committer_time(commit: bytes) -> datetime:
    """Return when a commit was made, in the zone of who made it.

    Raises:
        CommitError: the object lacks a header, or its time is malformed.
    """
    head = commit.partition(b"\n\n")[0]
    found: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        found.setdefault(key, value)
    for key in _HEADERS:
        if key not in found:
            raise CommitError(f"invalid commit object: missing {key.decode()} header")
    match = _COMMITTER.fullmatch(found[b"committer"])
    if match is None:
        raise CommitError("invalid commit object: malformed committer time")
    offset = timedelta(hours=int(match[3]), minutes=int(match[4]))
    zone = timezone(-offset if match[2] == b"-" else offset) if offset < timedelta(days=1) else None
    try:
        return datetime.fromtimestamp(int(match[1]), zone or UTC)
    except (OverflowError, ValueError, OSError):
        raise CommitError("invalid commit object: committer time out of range") from None
