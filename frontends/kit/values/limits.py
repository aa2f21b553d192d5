# SPDX-License-Identifier: Apache-2.0
"""The limits of steps on memory and processors, as frontend attributes: ``memory``, ``cpuquota``, ``cpusetcpus`` and the like."""

from __future__ import annotations

from collections.abc import Mapping

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_uint, read_int, read_uint
from llbkit.llb.ir.graph import LinuxResources

_UNLIMITED = -1


def read_limits(attrs: Mapping[str, str]) -> LinuxResources | None:
    """Return the limits that the attributes ask for; None if they ask for none. An empty attribute asks for nothing.

    Raises:
        ProgramError: a limit is malformed or not above zero.
    """
    limits = LinuxResources(
        memory=_number(attrs, "memory"),
        memory_swap=_number(attrs, "memswap", unlimited=True),
        cpu_shares=_number(attrs, "cpushares", signed=False),
        cpu_period=_number(attrs, "cpuperiod", signed=False),
        cpu_quota=_number(attrs, "cpuquota"),
        cpuset_cpus=_numbers(attrs, "cpusetcpus"),
        cpuset_mems=_numbers(attrs, "cpusetmems"),
    )
    return limits if limits != LinuxResources() else None


def _number(attrs: Mapping[str, str], key: str, *, signed: bool = True, unlimited: bool = False) -> int:
    text = attrs.get(key, "")
    if not text:
        return 0
    try:
        value = read_int(text) if signed else read_uint(text)
    except ValueError as error:
        raise _invalid(key, text, str(error), "write a number") from None
    if value <= 0 and not (unlimited and value == _UNLIMITED):
        cause = "must be -1 (unlimited) or > 0" if unlimited else "must be > 0"
        raise _invalid(key, text, cause, "omit it for no limit")
    return value


def _numbers(attrs: Mapping[str, str], key: str) -> str:
    """Return a list of processors or memory nodes as it is written: ``0-3,7``."""
    text = attrs.get(key, "")
    for element in text.split(",") if text else ():
        first, dash, last = element.partition("-")
        low, high = parse_uint(first), parse_uint(last if dash else first)
        if low is None or high is None:
            raise _invalid(
                key, text, f"invalid cpuset element {go_quote(element)}", "write for example 0-3,7"
            )
        if high < low:
            raise _invalid(
                key, text, f"invalid cpuset range {go_quote(element)}", "write the lower number first"
            )
    return text


def _invalid(key: str, text: str, cause: str, hint: str) -> ProgramError:
    return errors.option(f"failed to parse resource limits: invalid {key} value: {text}: {cause}", hint)
