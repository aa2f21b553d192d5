# SPDX-License-Identifier: Apache-2.0
"""Makes the case of a difference smaller, one thing after the other, as long as the difference stays."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.builds.case import Case


def reduce_case(case: Case, shows: Callable[[Case], bool], most: int = 40) -> Case:
    """Return a case that still shows what is looked for, and of which nothing can be left out; or what ``most`` tries reach."""
    tries = 0
    progressing = True
    while progressing and tries < most:
        progressing = False
        for less in case.smaller():
            tries += 1
            if tries > most:
                break
            if shows(less):
                case, progressing = less, True
                break
    return case
