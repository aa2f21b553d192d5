# SPDX-License-Identifier: Apache-2.0
"""Equal content gives equal blobs on every machine, however many processors it has."""

from __future__ import annotations

import os
import random
import threading

import pytest
import zstandard

from llbkit.worker.archive.compress import compressor

LEVELS = [None, 1, 3, 9, 19, 20]


def _content() -> bytes:
    """Twelve megabytes, text and noise: several pieces of every level that has pieces."""
    randomness = random.Random(5)
    words = [randomness.randbytes(randomness.randrange(2, 9)).hex().encode() for _ in range(500)]
    text = b" ".join(randomness.choice(words) for _ in range(900_000))
    return (text + randomness.randbytes(1 << 20) + bytes(2 << 20) + text)[: 12 << 20]


CONTENT = _content()


def _compressed(monkeypatch: pytest.MonkeyPatch, level: int | None, processors: int, block: int) -> bytes:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    content = CONTENT if level is None or level < 9 else CONTENT[: 1 << 20]
    made = compressor("zstd", level)
    out = [made.compress(content[at : at + block]) for at in range(0, len(content), block)]
    return b"".join([*out, made.flush()])


@pytest.mark.parametrize("level", LEVELS)
def test_zstd_is_the_same_on_any_number_of_processors(
    monkeypatch: pytest.MonkeyPatch, level: int | None
) -> None:
    first = _compressed(monkeypatch, level, 1, 1 << 20)
    content = zstandard.ZstdDecompressor().decompressobj().decompress(first)
    assert content == CONTENT[: len(content)]
    assert len(content) == len(CONTENT) if level is None or level < 9 else 1 << 20
    for processors, block in ((2, 1 << 20), (3, 1 << 20), (64, 1 << 20), (2, 100_000)):
        assert _compressed(monkeypatch, level, processors, block) == first, processors


def test_zstd_works_on_threads_of_its_own_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    before = threads()
    made = compressor("zstd")
    made.compress(CONTENT)
    assert threads() == before + 3
    made.flush()
    del made
    assert threads() == before
    assert threading.active_count() <= before
