# SPDX-License-Identifier: Apache-2.0
"""Several platforms' files in one tree (``platform-split=false``): only directories may overlap."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llbkit.worker.base import CancelToken
from llbkit.worker.exporters.base import ExportError, ExportRequest, Run
from llbkit.worker.fs.descent import Descent, remove_tree


@contextmanager
def sources(request: ExportRequest, run: Run) -> Iterator[list[tuple[str, Path]]]:
    """Show the files of every result, each with its platform.

    Raises:
        WorkerError: a layer cannot be fetched.
    """
    with ExitStack() as stack:
        found = []
        for result in request.results:
            run.tools.layers.ensure(result.snapshot, run.cancel, run.report)
            root = stack.enter_context(run.tools.snapshotter.view(result.snapshot))
            found.append((result.id, root))
        yield found


def paths(root: Path, cancel: CancelToken) -> Iterator[tuple[str, bool]]:
    """Give the relative path of everything below ``root``, parents first, and whether it is a directory."""
    pending = [""]
    while pending:
        folder = pending.pop()
        cancel.check()
        with os.scandir(root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{folder}/{entry.name}" if folder else entry.name
                directory = entry.is_dir(follow_symlinks=False)
                yield path, directory
                if directory:
                    pending.append(path)


def union(trees: Sequence[tuple[str, Path]], cancel: CancelToken) -> frozenset[str]:
    """Return the paths of all trees, each given with its platform.

    Raises:
        ExportError: two trees have something at the same path that is not a directory in both.
    """
    found: dict[str, tuple[str, bool]] = {}
    for platform, root in trees:
        for path, directory in paths(root, cancel):
            other, other_directory = found.setdefault(path, (platform, directory))
            if other != platform and not (directory and other_directory):
                raise ExportError(
                    f"cannot overwrite {path} from {other} with {platform} when split option is disabled",
                    help="remove platform-split=false, or write to a separate path for each $TARGETPLATFORM",
                )
    return frozenset(found)


def prune(directory: int, wanted: frozenset[str]) -> None:
    """Remove unwanted entries from an open directory; links are removed, never followed."""
    place = Descent(os.dup(directory))
    try:
        path: list[str] = []
        pending = [_names(directory)]
        while pending:
            if not pending[-1]:
                pending.pop()
                if path:
                    path.pop()
                    place.up()
                continue
            name = pending[-1].pop()
            if "/".join((*path, name)) not in wanted:
                remove_tree(name, dir_fd=place.directory)
            elif stat.S_ISDIR(os.stat(name, dir_fd=place.directory, follow_symlinks=False).st_mode):
                place.down(name)
                path.append(name)
                pending.append(_names(place.directory))
    finally:
        place.close()


def _names(directory: int) -> list[str]:
    return sorted(os.listdir(directory), reverse=True)
