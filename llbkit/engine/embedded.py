# SPDX-License-Identifier: Apache-2.0
"""The composition root: one state directory, one worker, one solver, the frontends."""

from __future__ import annotations

import json
import os
import resource
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Literal, Self, Unpack

from llbkit import config
from llbkit.engine.bridge import EngineBridge, optimized
from llbkit.engine.export import check_outputs, export_all, seen_by
from llbkit.frontends.base import BuildResult, SolveRequest
from llbkit.llb import Graph, Platform, State, image
from llbkit.llb.builder.arguments import expect, expect_all
from llbkit.llb.builder.options import as_platform
from llbkit.llb.builder.sources import ImageConfig
from llbkit.llb.ids import new_id
from llbkit.request.values import BuildOutcome, BuildRequest, Output, Secret
from llbkit.solver import Solver
from llbkit.solver.events import Progress, discard
from llbkit.solver.passes import Optimized
from llbkit.solver.ports import Result
from llbkit.worker.base import EnvironmentLackError
from llbkit.worker.session.local import LocalSession
from llbkit.worker.worker import LocalWorker

if TYPE_CHECKING:
    from llbkit.engine.images import Images
    from llbkit.engine.running import RunRequest
    from llbkit.engine.solution import Solution
    from llbkit.request.building import BuildArguments
    from llbkit.worker.runtime.process import Attached

_LEAST_MEMORY = 512 << 20
"""Bytes of address space: every thread takes its stack, and most of them an arena of the allocator."""

_LEAST_FILES = 64
"""What databases, pools and one container with its pipes take."""


class Engine:
    """Builds and solves on one state directory. Several engines, also of other processes, may share one.

    Use it as a context manager, from one thread; its coroutines may run concurrently on one event loop. A graph, run:

        import asyncio
        from llbkit.llb import local, scratch
        from llbkit import Engine

        graph = scratch().copy(local("context"), "/greeting", "/").graph()
        with Engine() as engine:
            solution = asyncio.run(engine.solve(graph, locals={"context": "."}, outputs=["type=tar,dest=out.tar"]))
            print(asyncio.run(solution.read_file("/greeting")))

    and a Dockerfile, built: ``asyncio.run(engine.build(".", tags=["app:1"]))``. `llbkit.sync.Engine` has the same methods as
    blocking calls. What goes wrong is raised as the errors of `llbkit.errors`.

    Raises:
        llbkit.config.ConfigError: the settings cannot be used.
        llbkit.worker.base.StorageError: the state directory cannot be used.
        llbkit.worker.base.EnvironmentLackError: this process may open too few files, or use too little address space.
    """

    def __init__(
        self, *, root: str | os.PathLike[str] | None = None, settings: config.Settings | None = None
    ) -> None:
        _require_limits()
        self.settings = settings or config.load(root=Path(root) if root is not None else None)
        self.worker = LocalWorker(
            self.settings.root,
            parallel=self.settings.parallel,
            runtime=self.settings.runtime,
            snapshotter=self.settings.snapshotter,
            registries=self.settings.registries,
            notice=_notice,
        )
        self.solver = Solver(self.worker, self.worker.cache_store, resources=self.settings.parallel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for running work, drop leases and close the state directory."""
        self.worker.close()

    @property
    def _optimizing(self) -> bool:
        return self.settings.passes == "on"

    @cached_property
    def images(self) -> Images:
        """The local image store."""
        from llbkit.engine.images import Images

        return Images(self.worker)

    @property
    def runtime_name(self) -> str:
        """The OCI runtime in use. Raises `llbkit.worker.base.EnvironmentLackError` if none works here."""
        return self.worker.runtime_name

    async def build(
        self,
        what: BuildRequest | str | os.PathLike[str] = ".",
        *,
        progress: Progress = discard,
        stdout: BinaryIO | None = None,
        **arguments: Unpack[BuildArguments],
    ) -> BuildOutcome:
        """Run a frontend, solve what it returns and export it.

        ``what`` is a context (a directory, or a git or HTTP address) with `llbkit.request.building.BuildArguments`, or a whole
        request. ``stdout`` receives what an output with ``dest="-"`` writes.

            await engine.build(".", tags=["app:1"], target="release", args={"VERSION": "2"})

        Raises:
            TypeError: an argument is unknown or has the wrong type.
            llbkit.request.csvflags.FlagError: a path does not exist, or values do not go together.
            grammar.DiagnosticError: the program is wrong.
            llbkit.solver.errors.VertexError: a step failed.
            llbkit.worker.base.WorkerError: an export failed or the environment lacks something.
        """
        if not isinstance(what, BuildRequest):
            from llbkit.request.building import request_of

            expect("build", "what", what, BuildRequest, str, os.PathLike)
            with tempfile.TemporaryDirectory(prefix="build-", dir=self.worker.state.work) as scratch:
                request = request_of(what, Path(scratch), **arguments)
                return await self._build(request, progress, stdout)
        if arguments:
            raise TypeError("build() takes no keyword arguments with a BuildRequest")
        return await self._build(what, progress, stdout)

    async def _build(
        self, request: BuildRequest, progress: Progress, stdout: BinaryIO | None
    ) -> BuildOutcome:
        check_outputs(request)
        async with self._bridge(request, progress) as bridge:
            result = await self._frontend(request, bridge)
            if "result.txt" in result.metadata or "result.json" in result.metadata:
                return BuildOutcome(response={}, metadata=result.metadata)
            response = await export_all(result, request, self.worker, bridge.value, progress, stdout)
            size = self.images.size_of(response) if response else 0
        return BuildOutcome(response=response, metadata=result.metadata, size=size)

    async def compile(
        self, request: BuildRequest, *, progress: Progress = discard
    ) -> Mapping[str, Graph | None]:
        """Run a frontend and return each platform's optimized graph; nothing is executed but what it reads."""
        done = await self.compile_explained(request, progress=progress)
        return {key: one.graph if one is not None else None for key, one in done.items()}

    async def compile_explained(
        self, request: BuildRequest, *, progress: Progress = discard
    ) -> Mapping[str, Optimized | None]:
        """Run a frontend and return what the passes make of each platform's graph, as a build would solve it."""
        async with self._bridge(request, progress) as bridge:
            result = await self._frontend(request, bridge)
            return {
                one.id: optimized(one.ref.definition(), optimizing=self._optimizing)
                if one.ref is not None
                else None
                for one in result.results
            }

    async def image(self, ref: str, *, platform: Platform | str | None = None, pull: bool = False) -> State:
        """Return the state of an image with its config: environment, directory, and what an image made of it starts.

        The reference is pinned to the digest that it has now. Without ``pull`` an image of the local store comes first.

        Raises:
            llbkit.worker.base.SourceError: the image or platform does not exist, or its registry cannot be reached.
        """
        expect("image", "ref", ref, str)
        wanted = as_platform(platform) or self.worker.platforms[0]
        mode: Literal["pull", "local"] = "pull" if pull else "local"
        with self.worker.lease():
            found = await self.worker.resolve_image(ref, wanted, mode, LocalSession(id=new_id()))
        known = ImageConfig(config=found.config, digest=found.digest, ref=found.ref)
        return image(ref, resolver=lambda *_: known, resolve_digest=True, platform=wanted)

    async def solve(
        self,
        graph: Graph | State,
        *,
        locals: Mapping[str, Path | str] | None = None,  # noqa: A002
        oci_stores: Mapping[str, Path] | None = None,
        secrets: Mapping[str, bytes | str | os.PathLike[str] | tuple[str, str]] | None = None,
        ssh: Mapping[str, Sequence[str]] | None = None,
        allow: frozenset[str] | Sequence[str] = frozenset(),
        outputs: Sequence[Output | str] = (),
        names: Sequence[str] = (),
        platform: Platform | str | None = None,
        config: bytes | Mapping[str, object] | None = None,
        no_cache: bool = False,
        progress: Progress = discard,
        stdout: BinaryIO | None = None,
    ) -> Solution:
        """Execute a graph, write the outputs, and return its files.

        Args:
            graph: what to execute; its wanted result is its head. A state brings its image config along.
            locals: the directories that ``local://`` sources read, by name.
            oci_stores: the OCI layouts that ``oci-layout://`` sources read, by name.
            secrets: for each id its value as bytes, a path, or ``("env", variable)``.
            ssh: for each id an agent's socket, or key files.
            allow: rights that steps may use: ``network.host``, ``security.insecure``, ``device``.
            outputs: where to write the result: `Output`, or its text (``type=local,dest=DIR``, ...).
            names: references of an image output.
            platform: of the result; None: that of its last step, or else this machine's.
            config: image config for image outputs: JSON, which is taken as it is, or a value, which is laid over the config of
                the state (and gets the platform if it names none). None: the state's; of a graph, one without settings.
            no_cache: execute every step.
            progress: receives every event, on this thread.
            stdout: receives what an output with ``dest=-`` writes.

        Raises:
            llbkit.solver.errors.VertexError: a step failed; ``cause`` says why.
            llbkit.worker.base.WorkerError: an output cannot be written, or the environment lacks something.
            llbkit.request.csvflags.FlagError: the text of an output makes no sense.
            TypeError: an argument has the wrong type.
        """
        from llbkit.engine.solution import Solution
        from llbkit.request.building import entitlements_of, outputs_of, secrets_of

        expect("solve", "graph", graph, Graph, State)
        expect("solve", "locals", locals or {}, Mapping)
        expect("solve", "secrets", secrets or {}, Mapping)
        expect("solve", "config", config, Mapping, bytes, type(None))
        expect_all("solve", "names", names, str)
        request = BuildRequest(
            locals=_absolute(locals or {}),
            oci_stores=oci_stores or {},
            secrets=secrets_of("solve", secrets or {}),
            ssh=ssh or {},
            allow=entitlements_of("solve", allow),
            outputs=outputs_of("solve", outputs),
            names=tuple(names),
        )
        check_outputs(request)
        platform = as_platform(platform)
        if isinstance(graph, State):
            state, graph = graph, graph.graph(platform=platform)
            config = _laid_over(state.image_config(platform=platform), config)
        if no_cache:
            from llbkit.engine.graphs import without_cache

            graph = without_cache(graph)
        if platform is None:
            platform = graph.head.vertex.platform if graph.head is not None else None
        platform = platform or self.worker.platforms[0]
        async with self._bridge(request, progress) as bridge:
            result = await bridge.solve(SolveRequest(definition=graph, platform=platform))
            (one,) = result.results
            result = replace(result, results=(replace(one, config=_on_platform(config, platform)),))
            value = await bridge.value(graph, seen_by(request.outputs))
            response = await export_all(result, request, self.worker, bridge.value, progress, stdout)
            size = self.images.size_of(response) if response else 0
        return Solution(value, response, self.worker, size=size)

    async def run(self, request: RunRequest, attached: Attached, *, progress: Progress = discard) -> int:
        """Run a process in an image, attached to these file descriptors; return its exit code.

        Raises:
            llbkit.engine.running.NoCommandError: neither the request nor the image says what to run.
            llbkit.worker.base.WorkerError: the image cannot be had, or the process cannot be started.
        """
        from llbkit.engine.running import run

        async def solve(graph: Graph, progress: Progress) -> Result | None:
            async with self._bridge(BuildRequest(), progress) as bridge:
                return await replace(bridge, optimizing=False).value(graph, seen_by(()))

        with self.worker.lease():
            return await run(request, attached, worker=self.worker, solve=solve, progress=progress)

    async def _frontend(self, request: BuildRequest, bridge: EngineBridge) -> BuildResult:
        if request.downloads or any(value.startswith("target:") for value in request.options.values()):
            from llbkit.engine.inputs import download, with_targets

            await download(bridge, request.downloads)
            bridge = await with_targets(bridge, request.frontend)
        return await bridge.solve(
            SolveRequest(frontend=request.frontend, options=bridge.options, inputs=bridge.frontend_inputs)
        )

    @asynccontextmanager
    async def _bridge(self, request: BuildRequest, progress: Progress) -> AsyncIterator[EngineBridge]:
        with self.worker.agents(request.ssh) as sockets:
            session = LocalSession(
                id=new_id(),
                locals=request.locals,
                secrets={name: _secret(value) for name, value in request.secrets.items()},
                ssh=sockets,
                oci_stores=request.oci_stores,
                entitlements=request.allow,
            )
            async with self.solver.job(session=session, progress=progress) as job:
                yield EngineBridge(
                    options=request.options,
                    job=job,
                    worker=self.worker,
                    session=session,
                    progress=progress,
                    frontend_inputs=request.inputs,
                    optimizing=self._optimizing,
                )


def _require_limits() -> None:
    memory = resource.getrlimit(resource.RLIMIT_AS)[0]
    if memory != resource.RLIM_INFINITY and memory < _LEAST_MEMORY:
        # Below this, threads run out of memory before they begin to run, and Python waits for them without end.
        raise EnvironmentLackError(
            f"address space limit of {memory >> 20} MiB is too low; a build needs at least {_LEAST_MEMORY >> 20} MiB",
            help="raise the limit, for example with `ulimit -v unlimited`",
        )
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_FILES:
        raise EnvironmentLackError(
            f"open file limit of {allowed} is too low; a build needs at least {_LEAST_FILES}",
            help="raise the limit, for example with `ulimit -n 1024`",
        )


def _notice(text: str) -> None:
    """Tell users something that no build reports. Without handlers, warnings go to standard error as they are."""
    import logging

    logging.getLogger("llbkit").warning(text)


def _absolute(directories: Mapping[str, Path | str]) -> dict[str, Path]:
    return {name: Path(path).absolute() for name, path in directories.items()}


def _on_platform(config: bytes | Mapping[str, object] | None, platform: Platform) -> bytes | None:
    """Return an image config as JSON that names its platform."""
    if config is None or isinstance(config, bytes):
        return config
    known = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return json.dumps({key: value for key, value in {**known, **config}.items() if value}).encode()


def _laid_over(
    base: Mapping[str, object] | None, config: bytes | Mapping[str, object] | None
) -> bytes | Mapping[str, object] | None:
    """Lay a config over that of a state; the settings of a container are laid over one by one."""
    if base is None or isinstance(config, bytes):
        return config
    given = dict(config or {})
    inner, known = given.pop("config", None), base.get("config")
    if isinstance(inner, Mapping) and isinstance(known, Mapping):
        given["config"] = {**known, **inner}
    elif inner is not None:
        given["config"] = inner
    return {**base, **given}


def _secret(value: Secret) -> Callable[[], bytes]:
    if isinstance(value, bytes):
        return lambda: value
    kind, where = value
    if kind == "env":
        return lambda: os.environb[where.encode()]
    return Path(where).read_bytes
