# SPDX-License-Identifier: Apache-2.0
"""Copies of parts of a tree, as with COPY --parents, give modes and owners of a model; all paths are directories."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llbkit.llb.ir.ops import Chown, Copy
from llbkit.worker.base import SCRATCH

pytestmark = pytest.mark.root

_SPEC = importlib.util.spec_from_file_location(
    "worker_files_world", Path(__file__).parent.parent / "unit" / "worker_files" / "conftest.py"
)
world_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(world_module)

Directories = dict[str, tuple[int, int]]
"""Mode and owner by path."""

NAMES = st.sampled_from(["a", "b", "ab", "[a]"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from([0o755, 0o700, 0o1777, 0o2775, 0o4711])
TREES = st.dictionaries(PATHS, st.tuples(MODES, st.integers(0, 3)), max_size=6)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "a*", "**", "?"]), min_size=1, max_size=3).map("/".join)


def closed(tree: Directories) -> Directories:
    """Add the directories above; parents first."""
    above = {str(parent): (0o755, 0) for path in tree for parent in Path(path).parents if parent != Path()}
    return dict(sorted({**above, **tree}.items()))


def matches(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(matches(pattern[1:], path[skipped:]) for skipped in range(len(path) + 1))
    if not path:
        return False
    glob, name = pattern[0], path[0]
    fits = {"*": True, "?": len(name) == 1, "a*": name.startswith("a")}.get(glob, name == glob)
    return fits and matches(pattern[1:], path[1:])


def taken(pattern: str, path: str) -> bool:
    """Whether the pattern matches a path or something above it."""
    parts = path.split("/")
    return any(matches(pattern.split("/"), parts[: length + 1]) for length in range(len(parts)))


def copied(base: Directories, source: Directories, pattern: str, owner: int | None, mode: int) -> Directories:
    """Return what the copy leaves: existing directories that only lead to something keep their owner."""
    result = dict(base)
    for path, (old, uid) in source.items():
        is_taken = taken(pattern, path)
        if not is_taken and not any(p.startswith(f"{path}/") and taken(pattern, p) for p in source):
            continue
        if path in base and not is_taken:
            result[path] = (old, base[path][1])
        else:
            result[path] = (old if mode == -1 else mode, uid if owner is None else owner)
    return result


@pytest.fixture(scope="module")
def world():
    root = Path(tempfile.mkdtemp())
    made = world_module.World(root / "state")
    yield made
    made.close()
    shutil.rmtree(root)


def made(world, tree: Directories):
    def work(token: object):
        with world.snapshotter.prepare(SCRATCH) as active:
            for path, (mode, uid) in tree.items():
                (active.path / path).mkdir()
                os.chown(active.path / path, uid, uid)
                (active.path / path).chmod(mode)
            return active.commit()

    return world.pools.run_sync("disk", work)


def found(root: Path) -> Directories:
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.lstat().st_mode), path.lstat().st_uid)
        for path in root.rglob("*")
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, TREES, PATTERNS, st.none() | st.integers(4, 5), st.sampled_from([-1, 0o711, 0o2640]))
def test_parts_of_trees_are_copied_as_in_the_model(world, base, source, pattern, owner, mode) -> None:
    base, source = closed(base), closed(source)
    copy = Copy(
        src="/", dest="/", mode=mode, timestamp=-1, follow_symlink=True, dir_copy_contents=True, create_dest_path=True,
        allow_wildcard=True, include_patterns=(pattern,), owner=None if owner is None else Chown(user=owner),
    )  # fmt: skip
    result = world.files(copy, base=made(world, base), source=made(world, source))
    assert world.inside(result, found) == copied(base, source, pattern, owner, mode)
