# SPDX-License-Identifier: Apache-2.0
"""Hashing, compressing and writing go on at the same time; failures of each end all of them."""

from __future__ import annotations

import errno
import hashlib
import threading
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from llbkit.worker.snapshot import pack

BLOCK = 1 << 20


class _Token:
    """Cancelled after so many checks; None: never."""

    def __init__(self, after: int | None = None) -> None:
        self.left = after

    def check(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt


class _Writer:
    """A blob in memory on a disk that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.data = room, b""
        self.threads: list[str] = []

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def write(self, data: bytes) -> None:
        if len(self.data) + len(data) > self.room:
            raise OSError(errno.ENOSPC, "no space left")
        self.data += data
        self.threads.append(threading.current_thread().name)


class _Content:
    def __init__(self, room: int = 1 << 40) -> None:
        self.made = _Writer(room)

    def writer(self, expected: str = "", size: int = -1) -> AbstractContextManager[_Writer]:
        @contextmanager
        def open_one() -> Any:
            yield self.made

        return open_one()


def _store(content: Any, blocks: int, token: _Token | None = None) -> tuple[pack.Packed, bytes]:
    tar = b"".join(bytes([number % 251]) * BLOCK for number in range(blocks)) + b"end"

    def produce(write: pack.Write) -> None:
        for at in range(0, len(tar), 300_000):
            write(tar[at : at + 300_000])

    return pack.store_tar(content, "uncompressed", None, token or _Token(), produce), tar


@pytest.mark.parametrize("blocks", [0, 1, 2, 40])
def test_all_blocks_arrive_in_order(blocks: int) -> None:
    content = _Content()
    packed, tar = _store(content, blocks)
    assert content.made.data == tar
    assert packed.diff_id == packed.descriptor.digest == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert ("llbkit-pack" in content.made.threads) == (blocks > 0)


@pytest.mark.parametrize("room", [0, BLOCK, 3 * BLOCK, 20 * BLOCK, 40 * BLOCK + 1])
def test_a_full_disk_is_reported(room: int) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="no space left"):
        _store(_Content(room), 40)
    assert threading.active_count() == before


@pytest.mark.parametrize("after", [0, 1, 5, 30])
def test_a_cancelled_layer_leaves_no_thread(after: int) -> None:
    before = threading.active_count()
    content = _Content()
    with pytest.raises(KeyboardInterrupt):
        _store(content, 40, _Token(after))
    assert threading.active_count() == before
    assert content.made.size <= (after + 1) * BLOCK
