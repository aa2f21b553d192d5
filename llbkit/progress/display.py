# SPDX-License-Identifier: Apache-2.0
"""The contract of a display, and the display that shows nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from llbkit.solver.events import Event


class Display:
    """Shows the events of one build. Calls come from any thread; this one ignores them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Take in one event."""

    def close(self) -> None:
        """Show what is left and stop; idempotent."""
