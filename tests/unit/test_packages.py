"""The names that an installation adds to its environment: `llbkit`, and nothing beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("conformance", "frontends", "grammar", "llb", "solver", "worker")


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_has_one_name(name: str, tmp_path: Path) -> None:
    assert (ROOT / "llbkit" / name).is_symlink()
    assert (ROOT / "llbkit" / name).resolve() == ROOT / name
    done = python(f"import llbkit.{name}; import {name}", tmp_path)
    assert f"No module named '{name}'" in done.stderr


def test_files_of_a_user_may_have_the_names_of_our_packages(tmp_path: Path) -> None:
    for name in FOLDERS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the file of the user was imported')\n")
    done = python("from llbkit import Engine, llb; print(Engine, llb.scratch())", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "<State scratch>" in done.stdout
