# SPDX-License-Identifier: Apache-2.0
"""The state directory: who uses it, what the dead leave behind, what a crash damages."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from llbkit.worker.base import Snapshot, SourceError, StorageError
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state import scratch
from llbkit.worker.state.directory import StateDir

CHILD = """
import sys
from pathlib import Path
from llbkit.worker.content.store import ContentStore
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.directory import StateDir
state = StateDir(Path(sys.argv[1]))
content = ContentStore(state)
layers = LayerStore(state, content)
def say(text):
    print(text, flush=True)
"""


class Child:
    """Another process on the same state directory."""

    def __init__(self, root: Path, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD + code + "\nsys.stdin.read()", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def child():
    children: list[Child] = []

    def start(root: Path, code: str) -> Child:
        children.append(Child(root, code))
        return children[-1]

    yield start
    for one in children:
        one.kill()


LEFTOVERS = """
(state.work / "half").mkdir()
(state.work / "half" / "file").write_text("x")
(state.ingest / f"{state.owner}.123").write_text("partial")
(state.layers / f".{state.owner}.7.ab").mkdir()
state.lease.pin_blob("sha256:abc")
say(state.owner)
"""


def test_a_killed_process_leaves_nothing_after_the_next_start(tmp_path, child) -> None:
    dead = child(tmp_path, LEFTOVERS)
    dead.kill()
    state = StateDir(tmp_path)
    assert os.listdir(tmp_path / "work") == [state.owner]
    assert os.listdir(tmp_path / "run/owners") == [state.owner]
    assert os.listdir(state.ingest) == os.listdir(state.layers) == []
    assert state.lease.blobs() == frozenset()
    state.close()


def test_a_living_process_keeps_what_it_has(tmp_path, child) -> None:
    living = child(tmp_path, LEFTOVERS)
    state = StateDir(tmp_path)
    assert sorted(os.listdir(tmp_path / "work")) == sorted([living.said, state.owner])
    assert len(os.listdir(state.ingest)) == len(os.listdir(state.layers)) == 1
    assert state.lease.blobs() == {"sha256:abc"}
    state.close()
    assert os.listdir(tmp_path / "work") == [living.said]


DOWNLOAD = """
with content.download("sha256:" + "a" * 64, 10) as blob:
    blob.write(b"12345")
    blob._file.flush()
    say("half")
    sys.stdin.read()
"""


def test_a_killed_download_can_be_continued(tmp_path, child) -> None:
    child(tmp_path, DOWNLOAD).kill()
    state = StateDir(tmp_path)
    content = ContentStore(state)
    assert [(digest, status.st_size) for digest, status in content.unfinished()] == [
        ("sha256:" + "a" * 64, 5)
    ]
    assert list(content.digests()) == []
    with suppress(SourceError), content.download("sha256:" + "a" * 64, 10) as blob:
        assert blob.size == 5
        blob.write(b"67890")  # in full, and not what it should be
    assert os.listdir(state.ingest) == []
    state.close()


def test_a_full_disk_keeps_no_download(tmp_path) -> None:
    state = StateDir(tmp_path)

    def receive() -> None:
        with ContentStore(state).download("sha256:" + "a" * 64, 10) as blob:
            blob.write(b"12345")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(StorageError):
        receive()
    assert os.listdir(state.ingest) == []
    state.close()


def test_closing_drops_pins_and_leaves_no_file_of_the_owner(tmp_path) -> None:
    state = StateDir(tmp_path)
    state.lease.pin_layers([1, 2])
    state.close()
    assert os.listdir(tmp_path / "work") == os.listdir(tmp_path / "run/owners") == []
    again = StateDir(tmp_path)
    assert again.lease.layers() == frozenset()
    again.close()


def test_many_processes_may_open_a_new_directory_at_once(tmp_path) -> None:
    code = CHILD + "say(state.owner)\nstate.close()"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    outcomes = [worker.communicate() for worker in workers]
    assert [errors for _, errors in outcomes] == [""] * 6
    assert os.listdir(tmp_path / "new/run/owners") == os.listdir(tmp_path / "new/work") == []


def test_an_adoption_that_was_cut_off_leaves_no_layer(tmp_path, child) -> None:
    dead = child(tmp_path, "say(layers._table.add('half'))")
    dead.kill()
    state = StateDir(tmp_path)
    layers = LayerStore(state, ContentStore(state))
    assert layers.layers() == []
    assert layers.from_token(f"layers:{dead.said}") is None
    assert state.lease.suspects() == []
    state.close()


ADOPTED = """
(state.work / "up").mkdir()
(state.work / "up" / "file").write_text("x")
say(layers.adopt(state.work / "up"))
"""


def test_a_layer_of_a_killed_process_is_kept(tmp_path, child) -> None:
    dead = child(tmp_path, ADOPTED)
    dead.kill()
    state = StateDir(tmp_path)
    layers = LayerStore(state, ContentStore(state))
    assert layers.from_token(f"layers:{dead.said}") == Snapshot((int(dead.said),))
    assert (layers.path(int(dead.said)) / "file").read_text() == "x"
    state.close()


def test_layers_held_when_the_machine_went_down_are_dropped(tmp_path, child) -> None:
    """Their files may never have reached the disk."""
    dead = child(tmp_path, ADOPTED)
    dead.kill()
    (owner,) = (tmp_path / "run/owners").iterdir()
    owner.write_text("the-boot-before")
    state = StateDir(tmp_path)
    layers = LayerStore(state, ContentStore(state))
    assert layers.from_token(f"layers:{dead.said}") is None
    assert os.listdir(state.layers) == []
    state.close()


def test_a_layer_whose_directory_is_gone_is_dropped_after_a_crash(tmp_path, child) -> None:
    dead = child(tmp_path, ADOPTED)
    dead.kill()
    (tmp_path / "layers" / dead.said).rename(tmp_path / "elsewhere")
    state = StateDir(tmp_path)
    assert LayerStore(state, ContentStore(state)).from_token(f"layers:{dead.said}") is None
    state.close()


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path) -> None:
    state = StateDir(tmp_path)
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with state.lock("x"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert os.listdir(state.run / "locks") == []
    state.close()


def test_waiting_for_a_lock_of_another_process_can_be_cancelled(tmp_path, child) -> None:
    child(tmp_path, "lock = state.lock('x')\nlock.__enter__()\nsay('locked')")
    state = StateDir(tmp_path)
    token = Token()
    token.cancel()

    def wait() -> None:
        with state.lock("x", token):
            raise AssertionError("the other process has it")

    with pytest.raises(Cancelled):
        wait()
    state.close()


def test_the_lock_of_a_dead_process_is_free(tmp_path, child) -> None:
    child(tmp_path, "lock = state.lock('x')\nlock.__enter__()\nsay('locked')").kill()
    state = StateDir(tmp_path)
    with state.lock("x"):
        assert os.listdir(state.run / "locks") == ["x"]
    state.close()


def test_a_place_that_cannot_be_written_is_reported_with_a_way_out(tmp_path) -> None:
    with pytest.raises(StorageError) as caught:
        StateDir(Path("/proc/llbkit"))
    assert caught.value.help


@pytest.mark.root
def test_a_full_disk_is_reported_and_loses_nothing(tmp_path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mounted], check=True)
    try:
        state = StateDir(mounted / "state")
        content = ContentStore(state)
        digest = content.put(b"small")

        def fill() -> None:
            with content.writer() as writer:
                for _ in range(8):
                    writer.write(b"x" * (1 << 20))

        with pytest.raises(StorageError) as caught:
            fill()
        assert "prune" in caught.value.help
        assert content.read(digest) == b"small"
        assert list(content.digests()) == [digest]
        assert os.listdir(state.ingest) == []
        state.close()
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


def test_a_temporary_directory_is_locked_until_it_is_removed(tmp_path: Path, monkeypatch) -> None:
    """Its maker, who has not locked it yet, must not take it for its own meanwhile."""
    (tmp_path / "left").mkdir()
    seen: list[bool] = []

    def remove(path: Path) -> None:
        seen.append(scratch.is_locked(path))
        path.rmdir()

    monkeypatch.setattr(scratch, "remove_tree", remove)
    scratch.remove_left_over(tmp_path)
    assert seen == [True]
    assert list(tmp_path.iterdir()) == []
