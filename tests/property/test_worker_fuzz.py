# SPDX-License-Identifier: Apache-2.0
"""Short runs of the fuzzers of tars and contexts, the same each time; ``python -m tests.fuzz.tars`` runs for longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import contexts, tars

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def _end_world():
    yield
    tars.close_world()


@pytest.mark.usefixtures("_end_world")
@pytest.mark.parametrize("number", range(4))
def test_tars(number: int) -> None:
    for seed in range(number * 10, number * 10 + 10):
        tars.case(random.Random(seed))


@pytest.mark.parametrize("seed", range(8))
def test_contexts(seed: int) -> None:
    contexts.case(random.Random(seed))
