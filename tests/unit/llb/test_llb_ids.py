# SPDX-License-Identifier: Apache-2.0
"""Random ids: their shape, and that there is one place which makes them."""

from __future__ import annotations

import re
from pathlib import Path

from llbkit import llb
from llbkit.llb.ids import new_id

ROOT = Path(llb.__file__).parent.parent


def test_ids_have_the_shape_of_buildkits_and_differ() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-z]{25}", each) for each in made)


def test_no_other_module_makes_ids_of_that_shape() -> None:
    sources = [path for name in ("llb", "frontends", "llbkit") for path in (ROOT / name).rglob("*.py")]
    assert [path.name for path in sources if "secrets.token" in path.read_text("utf-8")] == ["ids.py"]
