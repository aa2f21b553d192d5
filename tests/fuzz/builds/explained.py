# SPDX-License-Identifier: Apache-2.0
"""The differences that are meant, each with its reason; ``docs/differences.md`` lists them for users.

An entry names the kind of difference, where, what each side says and what the case must contain, all as patterns that must
match whole, so that it hides the one thing it is about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fuzz.builds.case import Case
from tests.fuzz.builds.compare import Difference


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A difference that is meant."""

    name: str
    reason: str
    kind: str
    place: str = ".*"
    theirs: str = ".*"
    ours: str = ".*"
    case: str = ""
    """Searched in the case's JSON and Dockerfile."""

    def covers(self, difference: Difference, case: Case) -> bool:
        """Say whether this is what the difference is."""
        pairs = (
            (self.kind, difference.kind),
            (self.place, difference.place),
            (self.theirs, difference.theirs),
            (self.ours, difference.ours),
        )
        if not all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs):
            return False
        return re.search(self.case, case.dockerfile() + case.encode(), re.DOTALL) is not None


EXPLAINED: tuple[Explained, ...] = ()


def explanation(difference: Difference, case: Case) -> Explained | None:
    """Return what explains a difference."""
    return next((one for one in EXPLAINED if one.covers(difference, case)), None)
