# SPDX-License-Identifier: Apache-2.0
"""Disk usage of directories."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def disk_usage(root: Path) -> int:
    """Return the bytes that all below a directory takes, hard links once. Others may be removing from it meanwhile."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [os.fspath(root)]
    while pending:
        with suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total
