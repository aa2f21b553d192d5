# SPDX-License-Identifier: Apache-2.0
"""Blobs: what has a digest's name has its content."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from llbkit.llb.address.reference import parse
from llbkit.worker.base import SourceError
from llbkit.worker.content.provider import WrongDigestError, fetch
from llbkit.worker.host.pools import Token
from llbkit.worker.oci import Descriptor, digest_of


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


class Chunks:
    """A provider of one blob that sends ``data``, breaks after ``until`` bytes, and says from where it was asked."""

    def __init__(self, data: bytes, until: int | None = None) -> None:
        self.data, self.until, self.offsets = data, until, []

    def chunks(self, ref, descriptor, cancel, offset=0):
        self.offsets.append(offset)
        for at in range(offset, len(self.data), 10):
            if self.until is not None and at >= self.until:
                raise ConnectionError("gone")
            yield self.data[at : at + 10]


CONTENT = bytes(range(100))
BLOB = Descriptor(media_type="x", digest=digest_of(CONTENT), size=len(CONTENT))


def _fetch(storage, provider) -> None:
    fetch(storage.content, provider, parse("a/b"), BLOB, Token())


def test_a_download_that_broke_goes_on_where_it_stopped(storage) -> None:
    with pytest.raises(ConnectionError):
        _fetch(storage, Chunks(CONTENT, until=40))
    assert [(digest, status.st_size) for digest, status in storage.content.unfinished()] == [
        (BLOB.digest, 40)
    ]
    rest = Chunks(CONTENT)
    _fetch(storage, rest)
    assert rest.offsets == [40]
    assert storage.content.read(BLOB.digest) == CONTENT
    assert os.listdir(storage.state.ingest) == []


def test_a_download_whose_beginning_was_damaged_begins_anew(storage) -> None:
    with pytest.raises(ConnectionError):
        _fetch(storage, Chunks(b"x" * 100, until=40))
    rest = Chunks(CONTENT)
    _fetch(storage, rest)
    assert rest.offsets == [40, 0]
    assert storage.content.read(BLOB.digest) == CONTENT


def test_a_download_of_wrong_content_is_not_kept(storage) -> None:
    with pytest.raises(WrongDigestError):
        _fetch(storage, Chunks(b"x" * 100))
    assert list(storage.content.unfinished()) == []
    assert os.listdir(storage.state.ingest) == []


def test_unfinished_downloads_can_be_dropped(storage) -> None:
    with pytest.raises(ConnectionError):
        _fetch(storage, Chunks(CONTENT, until=40))
    storage.content.drop_unfinished(BLOB.digest)
    assert os.listdir(storage.state.ingest) == []
