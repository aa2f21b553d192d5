# SPDX-License-Identifier: Apache-2.0
"""The clock of the machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable


class SystemClock:
    """A `llbkit.solver.ports.Clock` that reads the system clock."""

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait."""
        return asyncio.sleep(seconds)
