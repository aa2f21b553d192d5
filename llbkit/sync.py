# SPDX-License-Identifier: Apache-2.0
"""The engine with blocking calls, for scripts and notebooks.

    from llbkit.sync import Engine

    with Engine() as engine:
        engine.build(".", tags=["app:1"])
        base = engine.image("debian:12")
        engine.solve(base.run("apt-get update").root, outputs=["type=oci,dest=out.tar"])

Where an event loop runs already, as in a notebook, the calls run on a loop of their own in another thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, Unpack

from llbkit.engine import embedded as asynchronous
from llbkit.engine import solution
from llbkit.solver.events import Progress, discard

if TYPE_CHECKING:
    from pathlib import Path

    from llbkit.config import Settings
    from llbkit.engine.images import Images
    from llbkit.llb import Graph, Platform, State
    from llbkit.request.building import BuildArguments
    from llbkit.request.values import BuildOutcome, BuildRequest, Output
    from llbkit.worker.reader import PathInfo

T = TypeVar("T")


class Engine:
    """`llbkit.Engine` with blocking methods; see there for arguments and errors."""

    def __init__(
        self, *, root: str | os.PathLike[str] | None = None, settings: Settings | None = None
    ) -> None:
        self._engine = asynchronous.Engine(root=root, settings=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for running work, drop leases and close the state directory."""
        self._engine.close()

    @property
    def images(self) -> Images:
        """The local image store. Its pull, push, save and load are coroutines."""
        return self._engine.images

    def build(
        self,
        what: BuildRequest | str | os.PathLike[str] = ".",
        *,
        progress: Progress = discard,
        stdout: BinaryIO | None = None,
        **arguments: Unpack[BuildArguments],
    ) -> BuildOutcome:
        """Build a context, or a whole request. See `llbkit.Engine.build`."""
        return run(self._engine.build(what, progress=progress, stdout=stdout, **arguments))

    def image(self, ref: str, *, platform: Platform | str | None = None, pull: bool = False) -> State:
        """Return the state of an image with its config. See `llbkit.Engine.image`."""
        return run(self._engine.image(ref, platform=platform, pull=pull))

    def solve(
        self,
        graph: Graph | State,
        *,
        locals: Mapping[str, Path | str] | None = None,  # noqa: A002
        secrets: Mapping[str, bytes | str | os.PathLike[str] | tuple[str, str]] | None = None,
        outputs: Sequence[Output | str] = (),
        names: Sequence[str] = (),
        platform: Platform | str | None = None,
        config: bytes | Mapping[str, object] | None = None,
        progress: Progress = discard,
        **others: Any,
    ) -> Solution:
        """Execute a graph or state. See `llbkit.Engine.solve`, which takes the same arguments."""
        return Solution(
            run(
                self._engine.solve(
                    graph,
                    locals=locals,
                    secrets=secrets,
                    outputs=outputs,
                    names=names,
                    platform=platform,
                    config=config,
                    progress=progress,
                    **others,
                )
            )
        )


class Solution:
    """`llbkit.Solution` with blocking methods."""

    def __init__(self, inner: solution.Solution) -> None:
        self._inner = inner
        self.response = inner.response
        self.size = inner.size

    def release(self) -> None:
        """Let pruning remove the files. See `llbkit.Solution.release`."""
        self._inner.release()

    def read_file(self, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file's content. See `llbkit.Solution.read_file`."""
        return run(self._inner.read_file(path, offset=offset, length=length))

    def read_dir(self, path: str, *, include: str = "") -> Sequence[PathInfo]:
        """Return a directory's entries. See `llbkit.Solution.read_dir`."""
        return run(self._inner.read_dir(path, include=include))

    def stat_file(self, path: str) -> PathInfo:
        """Return what is known of one path. See `llbkit.Solution.stat_file`."""
        return run(self._inner.stat_file(path))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, also where an event loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="llbkit-sync")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
