# SPDX-License-Identifier: Apache-2.0
"""The ``.git`` directory that a checkout keeps: its refs, without anything specific to this machine.

Refs are those of BuildKit on a fresh state: a ref that was asked for is there as a branch and as a tag, an annotated tag
as a tag only, so that ``git describe --tags`` names it. HEAD is detached.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_HEADS, _TAGS = "refs/heads/", "refs/tags/"


def kept_refs(asked: str, full: str, commit: str, tag: str) -> Mapping[str, str]:
    """Return the refs of a kept ``.git`` and the objects that they name.

    Args:
        asked: the ref as the source names it, "" for the remote's HEAD.
        full: the ref that it stands for, ``refs/heads/main``; "" for a commit, or a remote whose HEAD is not a branch.
        commit: what is checked out.
        tag: the tag object if ``full`` is an annotated tag, else "".
    """
    if not full:
        return {}
    if tag:
        return {full: tag}
    if full.startswith(_TAGS):
        return {full: commit, _HEADS + full.removeprefix(_TAGS): commit}
    named = full if asked.startswith(("refs/", "heads/")) else full.removeprefix(_HEADS)
    return {full: commit, _TAGS + named: commit}


def clean(git_dir: Path) -> None:
    """Remove what git noted of fetches, and empty its logs, in a ``.git`` directory and those of submodules inside.

    Raises:
        OSError: something cannot be written.
    """
    for folder, directories, files in os.walk(git_dir):
        if "HEAD" not in files or "objects" not in directories:
            continue
        directories[:] = [name for name in directories if name not in ("objects", "refs", "hooks", "logs")]
        for name in ("FETCH_HEAD", "ORIG_HEAD"):
            if name in files:
                os.unlink(os.path.join(folder, name))
        for logs, _, names in os.walk(os.path.join(folder, "logs")):
            for name in names:
                os.truncate(os.path.join(logs, name), 0)
