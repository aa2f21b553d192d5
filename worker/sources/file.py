# SPDX-License-Identifier: Apache-2.0
"""A blob of the content store as a file of a snapshot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llbkit.worker.content.provider import Blobs
from llbkit.worker.content.store import DamagedBlobError

T = TypeVar("T")


def retry_damaged(work: Callable[[], T]) -> T:
    """Do what fetches a blob and uses it; once more if the blob was damaged, and has thus been removed."""
    try:
        return work()
    except DamagedBlobError:
        return work()


def write_file(store: Blobs, digest: str, path: Path, mode: int, uid: int, gid: int, mtime: float) -> None:
    """Write a blob to ``path``. Owner changes need root; others may only ask for their own ids.

    Raises:
        FileNotFoundError: the blob is not in the store, or was damaged and is not any more; nothing is written.
    """
    try:
        _write(store, digest, path, mode, uid, gid, mtime)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(store: Blobs, digest: str, path: Path, mode: int, uid: int, gid: int, mtime: float) -> None:
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as target, store.verified(digest) as source:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        if os.geteuid() == 0 or (uid, gid) != (0, 0):
            os.fchown(made, uid, gid)
        os.fchmod(made, mode)
        os.utime(made, (mtime, mtime))
    os.utime(path.parent, (mtime, mtime))
