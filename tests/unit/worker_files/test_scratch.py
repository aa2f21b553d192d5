# SPDX-License-Identifier: Apache-2.0
"""Temporary directories do not outlive their process for long, wherever they are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llbkit.worker.state.scratch import scratch

KILLED = """
import os, signal
from llbkit.worker.state.scratch import scratch
with scratch(None) as path:
    (path / "left").touch()
    print(path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_what_a_killed_process_leaves_is_removed_by_the_next(temporary) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    left = done.stdout.strip()
    assert os.listdir(left) == ["left"]
    with scratch(None) as first, scratch(None) as second:
        assert not os.path.exists(left)
        assert first.parent == second.parent == temporary / f"llbkit-{os.getuid()}"
        assert first.exists()
    assert os.listdir(first.parent) == []


@pytest.mark.parametrize("how", ["link", "open to all"])
def test_a_place_that_others_can_write_to_is_refused(temporary, how) -> None:
    place = temporary / f"llbkit-{os.getuid()}"
    if how == "link":
        (temporary / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(PermissionError), scratch(None):
        pass
