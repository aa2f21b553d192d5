# SPDX-License-Identifier: Apache-2.0
"""Signal names and numbers that stop a container: Linux's, with the real-time ones."""

from __future__ import annotations

from llbkit.frontends.kit.errors.suggest import suggest
from llbkit.frontends.kit.golang.text import parse_int

_NAMES = frozenset(
    [
        "ABRT",
        "ALRM",
        "BUS",
        "CHLD",
        "CLD",
        "CONT",
        "FPE",
        "HUP",
        "ILL",
        "INT",
        "IO",
        "IOT",
        "KILL",
        "PIPE",
        "POLL",
        "PROF",
        "PWR",
        "QUIT",
        "SEGV",
        "STKFLT",
        "STOP",
        "SYS",
        "TERM",
        "TRAP",
        "TSTP",
        "TTIN",
        "TTOU",
        "URG",
        "USR1",
        "USR2",
        "VTALRM",
        "WINCH",
        "XCPU",
        "XFSZ",
        "RTMIN",
        "RTMAX",
    ]
    + [f"RTMIN+{n}" for n in range(1, 16)]
    + [f"RTMAX-{n}" for n in range(1, 15)]
)


def likely_signal(text: str) -> str:
    """Return the signal that a misspelt name is near to; "" if none is."""
    close = suggest(text.upper().removeprefix("SIG"), sorted(_NAMES))
    return f"SIG{close}" if close else ""


def is_signal(text: str) -> bool:
    """Return whether a text is a signal: a name with or without SIG, or any number but 0."""
    number = parse_int(text)
    if number is not None:
        return number != 0
    return text.upper().removeprefix("SIG") in _NAMES
