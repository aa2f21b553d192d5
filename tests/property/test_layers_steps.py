# SPDX-License-Identifier: Apache-2.0
"""Random steps: every snapshotter shows what a plain directory would hold, and so does the image made of the layers."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llbkit.worker.base import SCRATCH, Snapshot
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Pools
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.snapshot.native import NativeSnapshotter
from llbkit.worker.snapshot.overlay import OverlaySnapshotter
from llbkit.worker.state.directory import StateDir

pytestmark = pytest.mark.root

names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
actions = st.one_of(
    st.tuples(st.just("write"), paths, st.integers(0, 9)),
    st.tuples(st.just("append"), paths, st.integers(0, 9)),
    st.tuples(st.just("mkdir"), paths, st.sampled_from([0o755, 0o700, 0o1777])),
    st.tuples(st.just("remove"), paths, st.none()),
    st.tuples(st.just("symlink"), paths, names),
    st.tuples(st.just("chmod"), paths, st.sampled_from([0o600, 0o755, 0o4711])),
    st.tuples(st.just("chown"), paths, st.integers(0, 3)),
    st.tuples(st.just("pair"), paths, st.integers(0, 9)),
    st.tuples(st.just("xattr"), paths, st.binary(min_size=1, max_size=3)),
)
steps = st.lists(st.lists(actions, max_size=6), min_size=1, max_size=5)


def carry_out(root: Path, action: tuple) -> None:
    """Do one action if it can be done; whether it can depends on what is seen only."""
    kind, name, value = action
    path = root / name
    for parent in reversed(path.relative_to(root).parents):
        if os.path.lexists(root / parent) and not stat.S_ISDIR(os.lstat(root / parent).st_mode):
            return
    there = os.path.lexists(path)
    if kind in CREATE and not there:
        path.parent.mkdir(parents=True, exist_ok=True)
        CREATE[kind](path, value)
    elif kind in FILE and is_file(path):
        FILE[kind](path, value)
    elif kind in ANY and there:
        ANY[kind](path, value)


def make_directory(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)


def make_pair(path: Path, number: int) -> None:
    """Make a directory with a file of two names (which no action changes: a copy-up parts them on an overlay)."""
    path.mkdir()
    (path / "p").write_text(str(number))
    os.link(path / "p", path / "q")


def append(path: Path, number: int) -> None:
    with open(path, "a") as file:
        file.write(str(number))


def remove(path: Path, value: None) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


CREATE = {
    "write": lambda path, number: path.write_text(f"text {number}"),
    "mkdir": make_directory,
    "symlink": lambda path, target: path.symlink_to(target),
    "pair": make_pair,
}
FILE = {
    "append": append,
    "write": lambda path, number: path.write_text(f"text {number}"),
    "xattr": lambda path, value: os.setxattr(path, "user.x", value),
}
ANY = {
    "remove": remove,
    "chmod": lambda path, mode: None if path.is_symlink() else path.chmod(mode),
    "chown": lambda path, owner: os.chown(path, owner, owner, follow_symlinks=False),
}


def is_file(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode)


def tree(root: Path) -> dict[str, tuple]:
    """Return path -> (mode, owner, content, the first name of the same file) of everything that is shown."""
    out = {}
    first: dict[tuple[int, int], str] = {}
    paths_below = sorted(
        os.path.relpath(os.path.join(folder, name), root)
        for folder, directories, files in os.walk(root)
        for name in (*directories, *files)
    )
    for path in paths_below:
        full = os.path.join(root, path)
        status = os.lstat(full)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            continue  # a bottom layer's whiteout
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = (
                Path(full).read_bytes(),
                xattr(full),
                first.setdefault((status.st_dev, status.st_ino), path),
            )
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(full)
        out[path] = (status.st_mode, status.st_uid, status.st_gid, content)
    return out


def xattr(full: str) -> bytes:
    return os.getxattr(full, "user.x") if "user.x" in os.listxattr(full) else b""


class Stores:
    """One state directory on its own."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.content = ContentStore(self.state)
        self.layers = LayerStore(self.state, self.content)


@contextmanager
def opened(root: Path) -> Iterator[Stores]:
    stores = Stores(root)
    try:
        yield stores
    finally:
        stores.state.close()


@pytest.fixture(scope="module")
def pools():
    made = Pools({"disk": 1}, private_mounts=True)
    yield made
    made.close()


def build(stores: Stores, snapshotter, plan: list) -> list[tuple[Snapshot, dict]]:
    """Run a plan; return the snapshot after each step and what it shows."""
    snapshot, found = SCRATCH, []
    for step in plan:
        with snapshotter.prepare(snapshot) as active:
            for action in step:
                carry_out(active.path, action)
            snapshot = active.commit()
        with snapshotter.view(snapshot) as path:
            found.append((snapshot, tree(path)))
    return found


def imported(source: Stores, snapshot: Snapshot, target: Stores) -> Snapshot:
    """Take a snapshot as an image into another state directory, its layers lazy."""
    blobs = {}
    layers: list[int] = []
    for layer in snapshot.layers:
        blob = source.layers.blob(layer)
        blobs[blob.descriptor.digest] = source.content.path(blob.descriptor.digest)
        layers.append(
            target.layers.add_remote(
                blob.descriptor, diff_id=blob.diff_id, parent=layers[-1] if layers else None, source="image"
            )
        )

    def fetch(descriptor, source_: str, cancel, progress) -> None:
        with target.content.writer(descriptor.digest) as writer:
            writer.write(blobs[descriptor.digest].read_bytes())

    target.layers.fetch = fetch
    target.layers.ensure(Snapshot(tuple(layers)))
    return Snapshot(tuple(layers))


@settings(deadline=None, max_examples=40)
@given(plan=steps)
def test_steps_and_images_show_what_a_directory_holds(pools, plan) -> None:
    def work(token: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            model = base / "model"
            model.mkdir()
            expected = []
            for step in plan:
                for action in step:
                    carry_out(model, action)
                expected.append(tree(model))
            for maker in (OverlaySnapshotter, NativeSnapshotter):
                with opened(base / maker.name) as one, opened(base / f"{maker.name}-image") as other:
                    found = build(one, maker(one.state, one.layers), plan)
                    assert [shown for _, shown in found] == expected
                    image = imported(one, found[-1][0], other)
                    for reader in (OverlaySnapshotter, NativeSnapshotter):
                        with reader(other.state, other.layers).view(image) as path:
                            assert tree(path) == expected[-1]

    pools.run_sync("disk", work)
