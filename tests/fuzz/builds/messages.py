# SPDX-License-Identifier: Apache-2.0
"""Classify the error messages of both engines."""

from __future__ import annotations

import re

_CLASSES = (
    ("user", r"invalid user index|unable to find (?:user|group)"),
    ("range of ids", r"ids must be in range"),
    ("exit code", r"did not complete successfully: exit code: (\d+)"),
    ("platform", r"no match for platform|no image for the platform"),
    ("wildcard", r"syntax error in pattern|malformed wildcard"),
    ("HTTP status", r"(?:invalid response status |server answered HTTP |not found \(HTTP )(\d+)"),
    ("archive entry", r"unhandled tar header type"),
    ("xattr", r"lsetxattr|cannot set the attribute"),
    ("unknown host", r"no such host|server misbehaving|cannot resolve the host name"),
    ("digest", r"digest mismatch|wrong digest"),
    (
        "not found",
        r"not found|no such file or directory|lstat .*: no such|does not exist in its source|nothing in .* matches|does not contain ref|directory .* does not exist|has no branch or tag",
    ),
    ("parse error", r"dockerfile parse error|parse error|unknown instruction|unknown flag"),
    ("not a file", r"cannot replace (?:to )?directory"),
    ("not a directory", r"not a directory|cannot copy to non-directory|is not a folder"),
    ("links in circles", r"too many (?:links|levels)|lead in circles"),
    ("circular", r"circular"),
)
_REF = re.compile(r"failed to calculate checksum of ref \S+: ")
"""Names that BuildKit gives to results, new ones each time."""


def message_class(message: str) -> str:
    """Return the class; a message that is in none is its own class, numbers and quoted words left out."""
    message = _REF.sub("", message)
    for name, pattern in _CLASSES:
        found = re.search(pattern, message, re.IGNORECASE)
        if found:
            return " ".join((name, *(group for group in found.groups() if group)))
    return re.sub(r"\d+", "N", re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`", "Q", message)).lower()
