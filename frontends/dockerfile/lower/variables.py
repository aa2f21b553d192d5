# SPDX-License-Identifier: Apache-2.0
"""The variables of a stage: its environment, and the arguments that were declared."""

from __future__ import annotations

from dataclasses import field

from llbkit.llb.builder.state import State
from llbkit.records import dataclass


@dataclass(slots=True)
class Variables:
    """``env`` is what words see; ``args`` are the ARGs with their values, None where there is none."""

    env: dict[str, str] = field(default_factory=dict)
    args: list[tuple[str, str | None]] = field(default_factory=list)
    _unsealed: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: str) -> None:
        """Set a variable for the steps that follow; it moves to the end."""
        for known in (self.env, self._unsealed):
            known.pop(key, None)
            known[key] = value

    def sealed(self, state: State) -> State:
        """Give a state the variables that were set since the last time: once for many, as each copies them all."""
        if not self._unsealed:
            return state
        state = state.envs(self._unsealed)
        self._unsealed.clear()
        return state

    def derived(self) -> Variables:
        """Return the variables that a stage on this one begins with."""
        return Variables(dict(self.env), list(self.args))
