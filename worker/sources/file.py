# SPDX-License-Identifier: Apache-2.0
"""A blob of the content store as a file of a snapshot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from worker.content.provider import Blobs


def write_file(store: Blobs, digest: str, path: Path, mode: int, uid: int, gid: int, mtime: float) -> None:
    """Write a blob to ``path``. Owner changes need root; others may only ask for their own ids."""
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as target, store.open(digest) as source:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        if os.geteuid() == 0 or (uid, gid) != (0, 0):
            os.fchown(made, uid, gid)
        os.fchmod(made, mode)
        os.utime(made, (mtime, mtime))
    os.utime(path.parent, (mtime, mtime))
