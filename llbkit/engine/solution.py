# SPDX-License-Identifier: Apache-2.0
"""The result of solving a graph, for programs: its files, and the exporters' responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llbkit.solver.ports import Result
    from llbkit.worker.reader import PathInfo
    from llbkit.worker.worker import LocalWorker


class Solution:
    """The files of a solved graph. Usable while its engine is open, until it is released or nobody refers to it.

    ``response`` holds the exporters' answers under BuildKit's names (``containerimage.digest``, ...), ``size`` is the exported
    image's in bytes (0: there is none). Nothing is unpacked before something is read.
    """

    def __init__(
        self, result: Result | None, response: Mapping[str, str], worker: LocalWorker, *, size: int = 0
    ) -> None:
        self.response = response
        self.size = size
        self._result = result
        self._worker = worker

    def release(self) -> None:
        """Let pruning remove the files, if nothing else needs them; idempotent. They cannot be read any more."""
        if self._result is not None:
            self._result.release()

    async def read_file(self, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file's content; ``length`` 0 is to its end.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        return await self._worker.read_file(self._result, path, offset=offset, length=length)

    async def read_dir(self, path: str, *, include: str = "") -> Sequence[PathInfo]:
        """Return a directory's entries, sorted by name; ``include`` is a pattern for names.

        Raises:
            FileNotFoundError: the directory does not exist.
        """
        return await self._worker.read_dir(self._result, path, include=include)

    async def stat_file(self, path: str) -> PathInfo:
        """Return what is known of one path.

        Raises:
            FileNotFoundError: the path does not exist.
        """
        return await self._worker.stat_file(self._result, path)
