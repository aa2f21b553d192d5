# SPDX-License-Identifier: Apache-2.0
"""Signal names and numbers that STOPSIGNAL accepts: Linux's, with the real-time ones."""

from __future__ import annotations

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


def is_signal(text: str) -> bool:
    """Tell whether a text is a signal: a name with or without SIG, or a positive number."""
    if text.isdigit():
        return 0 < int(text) <= 64
    return text.upper().removeprefix("SIG") in _NAMES
