# SPDX-License-Identifier: Apache-2.0
"""One mechanism a job: what only one module may use, for all others to share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("frontends", "grammar", "llb", "llbkit", "solver", "worker")
OWNERS = {
    r"\bctypes\.CDLL\(": {"worker/host/syscalls.py"},
    r"\bfcntl\.flock\(": {"llbkit/filelock.py"},
    r"\b(isal_zlib\.compressobj|ZstdCompressor)\(": {"worker/archive/compress.py"},
    r"\bVertex(Started|Completed|Status|Log)\(\s*(digest|id)=": {"solver/reporting.py"},
    r"^def normalize\(platform\b": {"llb/ir/platform.py"},
}


@pytest.mark.parametrize("pattern", OWNERS)
def test_a_mechanism_has_one_owner(pattern: str) -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    used = [file for file in files if re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)]
    # rglob does not follow the links of llbkit/ to its siblings on some versions of Python and does on others.
    assert {str(file.resolve().relative_to(ROOT)) for file in used} == OWNERS[pattern]
