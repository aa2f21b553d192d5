# SPDX-License-Identifier: Apache-2.0
"""The in-process `llbkit.frontends.base.Bridge`: a frontend's questions answered by a job and a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import TypeVar

from llbkit.frontends import registry
from llbkit.frontends.base import (
    BuildResult,
    PlatformResult,
    ResolvedImage,
    ResolvedSource,
    ResolveError,
    ResolveMode,
    SolveRequest,
    Stat,
)
from llbkit.grammar import Diagnostic
from llbkit.llb import Graph, State
from llbkit.llb.address.reference import parse
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.progress.display_step import as_display_step, digest_of
from llbkit.records import dataclass
from llbkit.solver import Job
from llbkit.solver.events import Progress, VertexWarning
from llbkit.solver.passes import FILES_PIPELINE, NO_PASSES, PIPELINE, Optimized, Seen
from llbkit.solver.passes import run as run_passes
from llbkit.solver.ports import Result
from llbkit.solver.schedule.flight import together
from llbkit.worker.base import WorkerError
from llbkit.worker.reader import PathInfo
from llbkit.worker.registry.http_errors import is_unreachable
from llbkit.worker.session.base import Session
from llbkit.worker.worker import LocalWorker

T = TypeVar("T")


class EngineRef:
    """A `llbkit.frontends.base.Ref` on a graph, as the frontend made it; what is solved is what the passes make of it."""

    def __init__(self, graph: Graph, bridge: EngineBridge) -> None:
        self._graph = graph
        self._bridge = bridge

    @property
    def id(self) -> str:
        """The digest of the head, "" for scratch."""
        return self._graph.head.vertex.digest if self._graph.head is not None else ""

    def definition(self) -> Graph:
        """Return the graph."""
        return self._graph

    async def evaluate(self) -> None:
        """Make the result, if that has not happened."""
        await self._bridge.value(self._graph)

    async def read_file(self, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file's content. Raises FileNotFoundError, IsADirectoryError."""
        value = await self._bridge.value(self._graph)
        data = await self._bridge.worker.read_file(value, path, offset=offset, length=length)
        if self.id:
            self._bridge.origins[path] = self.id
        return data

    async def read_dir(self, path: str, *, include: str = "") -> Sequence[Stat]:
        """Return a directory's entries, sorted by name. Raises FileNotFoundError."""
        value = await self._bridge.value(self._graph)
        return [_stat(entry) for entry in await self._bridge.worker.read_dir(value, path, include=include)]

    async def stat_file(self, path: str) -> Stat:
        """Return one path's metadata. Raises FileNotFoundError."""
        return _stat(await self._bridge.worker.stat_file(await self._bridge.value(self._graph), path))


def optimized(graph: Graph, seen: Seen = Seen.LAYERS, *, optimizing: bool) -> Optimized:
    """Return what the passes make of a graph of whose head ``seen`` is seen."""
    passes = PIPELINE if seen is Seen.LAYERS else FILES_PIPELINE
    return run_passes(graph, passes if optimizing else NO_PASSES)


@dataclass(slots=True)
class EngineBridge:
    """Answers from one job. ``optimizing`` says whether passes run over the graphs that are solved."""

    options: Mapping[str, str]
    job: Job
    worker: LocalWorker
    session: Session
    progress: Progress
    frontend_inputs: Mapping[str, State]
    optimizing: bool = True
    origins: dict[str, str] = field(default_factory=dict)
    """The paths that were read, with the vertices that gave them."""
    _values: dict[object, Result | None] = field(default_factory=dict)

    @property
    def build_platforms(self) -> Sequence[Platform]:
        """Platforms the worker runs, its own first."""
        return self.worker.platforms

    @property
    def caps(self) -> frozenset[str] | None:
        """The capabilities of this engine."""
        from llbkit.llb.ir.caps import OFFERED

        return OFFERED

    @property
    def session_id(self) -> str:
        """Goes into local sources."""
        return self.session.id

    async def resolve_image(
        self,
        ref: str,
        *,
        platform: Platform | None,
        mode: ResolveMode = "default",
        log_name: str = "",
        oci_store: str = "",
        oci_session: str = "",
    ) -> ResolvedImage:
        """Return digest and config of an image.

        Raises:
            ResolveError: it does not exist or cannot be reached.
        """
        wanted = platform or self.worker.platforms[0]

        async def ask() -> ResolvedImage:
            found = await self.worker.resolve_image(ref, wanted, mode, self.session, oci_store=oci_store)
            return ResolvedImage(ref=found.ref, digest=found.digest, config=found.config)

        about = parse(ref).with_default_tag().familiar
        name = log_name or f"[internal] load metadata for {ref}"
        return await self._as_display_step(name, ask, about, platforms.format(wanted))

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, log_name: str = ""
    ) -> ResolvedSource:
        """Return what is known about a git or HTTP source without fetching it.

        Raises:
            ResolveError: it does not exist or cannot be reached.
        """

        async def ask() -> ResolvedSource:
            found = await self.worker.resolve_source(identifier, attrs, self.session)
            return ResolvedSource(
                identifier=found.identifier,
                attrs=found.attrs,
                checksum=found.checksum,
                ref=found.ref,
                commit_object=found.commit_object,
                filename=found.filename,
                last_modified=found.last_modified,
            )

        return await self._as_display_step(log_name or f"[internal] load metadata for {identifier}", ask)

    async def solve(self, request: SolveRequest) -> BuildResult:
        """Return lazy results: of a definition, or of another frontend, which gets a bridge of its own to the same job.

        Raises:
            NoFrontendError: there is no frontend of that name.
            grammar.DiagnosticError: a frontend's program is wrong.
        """
        if request.frontend:
            own = replace(self, options=request.options, frontend_inputs=request.inputs)
            result = await registry.load(request.frontend).build(own)
        else:
            result = self._defined(request)
        if request.evaluate:
            await together(*(one.ref.evaluate() for one in result.results if one.ref is not None))
        return result

    def _defined(self, request: SolveRequest) -> BuildResult:
        platform = request.platform or self.worker.platforms[0]
        graph = request.definition
        if isinstance(graph, State):
            graph = graph.graph(platform=platform, caps=self.caps)
        assert graph is not None, "a request without a frontend has a definition"
        one = PlatformResult(id=platforms.format(platform), platform=platform, ref=EngineRef(graph, self))
        return BuildResult(results=(one,))

    async def value(self, graph: Graph, seen: Seen = Seen.LAYERS) -> Result | None:
        """Return the worker's result of a graph of whose head ``seen`` is seen; None is scratch.

        The bridge keeps it, so it outlives the job.
        """
        head = (graph.head.vertex.digest, graph.head.index) if graph.head is not None else None
        for known in (seen, Seen.LAYERS):  # of which everything can be seen
            if (head, known, self.optimizing) in self._values:
                return self._values[head, known, self.optimizing]
        done = optimized(graph, seen, optimizing=self.optimizing)
        # Asking twice at the same time is fine: the job solves equal vertices once.
        result = await self.job.solve(done.graph, parts=done.parts)
        key = (head, seen, self.optimizing)
        if key not in self._values:
            self._values[key] = result.clone() if result is not None else None
        return self._values[key]

    async def inputs(self) -> Mapping[str, State]:
        """Return the states that the caller passed in by name."""
        return self.frontend_inputs

    async def warn(self, diagnostic: Diagnostic) -> None:
        """Report a warning of the frontend, beside the step that read the text."""
        name = diagnostic.span.source.name if diagnostic.span else ""
        line = f" (line {diagnostic.span.start_line})" if diagnostic.span else ""
        self.progress(
            VertexWarning(
                digest=self.origins.get(name) or digest_of("[internal] load build definition"),
                short=f"{diagnostic.code}: {diagnostic.message}{line}",
                detail=(diagnostic.detail,) if diagnostic.detail else (),
                url=diagnostic.rule_url,
                spans=diagnostic.spans,
            )
        )

    async def _as_display_step(
        self, name: str, ask: Callable[[], Awaitable[T]], about: str = "", platform: str = ""
    ) -> T:
        """Show a request as a step of its own, and turn the worker's refusal into the frontend's error.

        A frontend says itself which source it asked for, so the refusal does not begin with ``about`` again. Requests for
        several platforms are steps of their own, though their names may be the same.
        """
        try:
            return await as_display_step(f"{name} {platform}", name, self.progress, lambda _: ask())
        except WorkerError as refusal:
            raise ResolveError(
                str(refusal).removeprefix(f"{about}: "),
                help=refusal.help,
                unreachable=is_unreachable(refusal),
            ) from refusal


def _stat(info: PathInfo) -> Stat:
    return Stat(
        path=info.path,
        mode=info.mode,
        size=info.size,
        mtime_ns=info.mtime_ns,
        uid=info.uid,
        gid=info.gid,
        linkname=info.linkname,
    )
