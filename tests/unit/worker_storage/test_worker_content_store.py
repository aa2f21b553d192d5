# SPDX-License-Identifier: Apache-2.0
"""Blobs: what has a digest's name has its content."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from worker.base import SourceError
from worker.oci import digest_of


def test_what_is_put_is_there(storage) -> None:
    digest = storage.content.put(b"hello")
    assert digest == digest_of(b"hello")
    assert storage.content.exists(digest)
    assert storage.content.read(digest) == b"hello"
    assert storage.content.size(digest) == 5
    assert list(storage.content.digests()) == [digest]
    assert storage.state.lease.blobs() == {digest}


@pytest.mark.parametrize(
    ("expected", "size"), [(digest_of(b"other"), -1), (digest_of(b"content"), 8), ("", 3)]
)
def test_content_that_is_not_as_expected_is_not_stored(storage, expected, size) -> None:
    def write() -> None:
        with storage.content.writer(expected, size) as writer:
            writer.write(b"content")

    with pytest.raises(SourceError):
        write()
    assert list(storage.content.digests()) == os.listdir(storage.state.ingest) == []


def test_a_writer_that_fails_stores_nothing(storage) -> None:
    def write() -> None:
        with storage.content.writer() as writer:
            writer.write(b"content")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert list(storage.content.digests()) == os.listdir(storage.state.ingest) == []


def test_other_algorithms_are_kept_apart(storage) -> None:
    digest = "sha512:" + hashlib.sha512(b"x").hexdigest()
    with storage.content.writer(digest, 1) as writer:
        writer.write(b"x")
    assert storage.content.read(digest) == b"x"
    assert list(storage.content.digests()) == [digest]


def test_the_same_blob_may_be_written_by_many_at_once(storage) -> None:
    start = threading.Barrier(4)
    failures = []

    def work() -> None:
        start.wait()
        try:
            with storage.content.writer() as writer:
                writer.write(b"same")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(storage.content.digests()) == [digest_of(b"same")]


def test_a_damaged_blob_is_discarded_and_a_sound_one_kept(storage) -> None:
    digest = storage.content.put(b"content")
    assert not storage.content.discard_damaged(digest)
    storage.content.path(digest).write_bytes(b"c0ntent")
    assert storage.content.discard_damaged(digest)
    assert not storage.content.exists(digest)


def test_deleting_tells_what_became_free(storage) -> None:
    digest = storage.content.put(b"content")
    assert storage.content.delete(digest) == 7
    assert storage.content.delete(digest) == 0
