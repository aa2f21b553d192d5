# SPDX-License-Identifier: Apache-2.0
"""Overlay mounts on old and new kernels, and the choice of a snapshotter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llbkit.worker.base import EnvironmentLackError, Snapshot, StorageError
from llbkit.worker.host.pools import Pools
from llbkit.worker.host.syscalls import OVERLAY_LIMIT, mount_overlay, mount_overlay_at_once, unmount
from llbkit.worker.snapshot import overlay
from llbkit.worker.snapshot.choose import choose
from llbkit.worker.snapshot.overlay import OverlaySnapshotter

pytestmark = pytest.mark.root


@pytest.fixture
def pools():
    made = Pools({"disk": 1}, private_mounts=True)
    yield made
    made.close()


def folders(base: Path, count: int) -> list[Path]:
    made = []
    for number in range(count):
        path = base / f"a, odd:name\\{number}"
        path.mkdir()
        (path / f"f{number}").write_text("x")
        made.append(path)
    return made


@pytest.mark.parametrize("mount", [mount_overlay, mount_overlay_at_once])
@pytest.mark.parametrize("count", [1, 3, 200])
def test_layers_with_any_name_are_mounted(pools, tmp_path, mount, count) -> None:
    lowers = folders(tmp_path, count)
    target, upper, work = (tmp_path / name for name in ("target", "up,per", "wo:rk"))
    for path in (target, upper, work):
        path.mkdir()

    def look(token: object) -> set[str]:
        mount(target, lowers, upper, work)
        try:
            (target / "f0").unlink()
            (target / "new").write_text("x")
            return {path.name for path in target.iterdir()}
        finally:
            unmount(target)

    expected = {f"f{number}" for number in range(1, count)} | {"new"}
    assert pools.run_sync("disk", look) == expected
    assert {path.name for path in upper.iterdir()} == {"f0", "new"}
    assert list(target.iterdir()) == []


def test_more_layers_than_overlayfs_stacks_are_explained(pools, storage) -> None:
    layers = []
    for _ in range(OVERLAY_LIMIT + 1):
        path = storage.state.work / "up"
        path.mkdir()
        layers.append(storage.layers.adopt(path))
    snapshotter = OverlaySnapshotter(storage.state, storage.layers)

    def prepare(token: object) -> None:
        with snapshotter.prepare(Snapshot(tuple(layers))):
            pass

    with pytest.raises(StorageError) as caught:
        pools.run_sync("disk", prepare)
    assert caught.value.help


def test_mounts_are_not_seen_by_the_host(pools, storage) -> None:
    one, two = (storage.adopted(name) for name in ("one", "two"))
    snapshotter = OverlaySnapshotter(storage.state, storage.layers)

    def prepare(token: object) -> bytes:
        with snapshotter.prepare(Snapshot((one, two))):
            host = Path("/proc/1/mounts").read_bytes() if Path("/proc/1/mounts").exists() else b""
            return host + Path("/proc/self/mounts").read_bytes()

    assert str(storage.state.root).encode() not in pools.run_sync("disk", prepare)


def test_overlay_is_chosen_where_it_works(storage) -> None:
    assert choose(storage.state, storage.layers).name == "overlay"
    assert choose(storage.state, storage.layers, "overlay").name == "overlay"
    assert choose(storage.state, storage.layers, "native").name == "native"


def test_native_is_chosen_where_overlay_does_not_work(storage, monkeypatch) -> None:
    monkeypatch.setattr(overlay, "why_not", lambda state: "refused")
    assert choose(storage.state, storage.layers).name == "native"
    with pytest.raises(EnvironmentLackError, match="refused") as caught:
        choose(storage.state, storage.layers, "overlay")
    assert caught.value.help


def test_an_unknown_snapshotter_is_explained(storage) -> None:
    with pytest.raises(EnvironmentLackError) as caught:
        choose(storage.state, storage.layers, "overlayfs")
    assert "overlay" in caught.value.help


def test_a_state_directory_that_is_no_upper_layer_is_noticed(storage, tmp_path) -> None:
    """An overlay on an overlay has no place for whiteouts."""
    target = tmp_path / "mounted"
    for name in ("lower", "upper", "work", "mounted"):
        (tmp_path / name).mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom llbkit.worker.host.pools import private_mounts\n"
        "from llbkit.worker.host.syscalls import mount_overlay\nfrom llbkit.worker.state.directory import StateDir\n"
        "from llbkit.worker.snapshot.overlay import why_not\n"
        "private_mounts()\nbase = Path(sys.argv[1])\n"
        "mount_overlay(base / 'mounted', [base / 'lower'], base / 'upper', base / 'work')\n"
        "state = StateDir(base / 'mounted' / 'state')\nprint(why_not(state) or 'works')\nstate.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() != "works"
    assert list(target.iterdir()) == []


ENSURE = """
import os, sys
from pathlib import Path
from llbkit.worker.base import Snapshot
from llbkit.worker.content.store import ContentStore
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.directory import StateDir
root, blob, layer = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
state = StateDir(root)
content = ContentStore(state)
layers = LayerStore(state, content)
def fetch(descriptor, source, cancel, progress):
    with open(root / "fetches", "a") as file:
        file.write("x")
    with content.writer(descriptor.digest) as writer:
        writer.write(blob.read_bytes())
layers.fetch = fetch
layers.ensure(Snapshot((layer,)))
print((layers.path(layer) / "f").stat().st_size)
state.close()
"""


def test_processes_fetch_and_unpack_a_layer_once(storage, helpers, tmp_path) -> None:
    snapshot = storage.lazy(helpers.archive(("f", b"x" * 5_000_000)))
    (blob,) = storage.remote.values()
    (tmp_path / "blob").write_bytes(blob)
    command = [sys.executable, "-c", ENSURE, storage.state.root, tmp_path / "blob", str(snapshot.layers[0])]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [worker.communicate() for worker in workers] == [("5000000\n", "")] * 4
    assert (storage.state.root / "fetches").read_text() == "x"
