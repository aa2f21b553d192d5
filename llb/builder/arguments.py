# SPDX-License-Identifier: Apache-2.0
"""Argument checks of the builder's functions: a wrong type fails at the call that passes it, not steps later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def expect(function: str, name: str, value: object, *kinds: type) -> None:
    """Check an argument's type. ``bool`` does not pass as a number.

    Raises:
        TypeError: it has another type; the message names the function and the argument.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{function}() argument {name!r} must be {_or(kinds)}, not {_kind(value)}")


def expect_all(function: str, name: str, values: Iterable[object], *kinds: type) -> None:
    """Check a sequence and the types of its items; a text is not a sequence of texts.

    Raises:
        TypeError: not a sequence, or an item has another type.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise TypeError(
            f"{function}() argument {name!r} must be a sequence of {_or(kinds)}, not {_kind(values)}"
        )
    for number, value in enumerate(values):
        if not isinstance(value, kinds):
            raise TypeError(
                f"{function}() argument {name!r}: item {number} must be {_or(kinds)}, not {_kind(value)}"
            )


def _or(kinds: Sequence[type]) -> str:
    names = ["None" if kind is type(None) else kind.__name__ for kind in kinds]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
