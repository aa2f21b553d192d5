# SPDX-License-Identifier: Apache-2.0
"""A short run of the fuzz target, the same each time; `python -m tests.fuzz.dockerfile` runs it for longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.dockerfile import change, fails, seeds


@pytest.mark.parametrize("number", range(8))
def test_changed_dockerfiles(number: int) -> None:
    source, pool = random.Random(number), seeds()
    for _ in range(12):
        data = change(source.choice(pool), pool, source)
        assert not fails(data), data
