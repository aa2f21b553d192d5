# SPDX-License-Identifier: Apache-2.0
"""The in-process `llbkit.frontends.base.Bridge`: a frontend's questions answered by a job and a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from llbkit.frontends.base import Ref, ResolvedImage, ResolvedSource, ResolveError, ResolveMode, Stat
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
from llbkit.worker.base import Session, WorkerError
from llbkit.worker.reader import PathInfo
from llbkit.worker.registry.http_errors import is_unreachable
from llbkit.worker.worker import LocalWorker

T = TypeVar("T")


class EngineRef:
    """A `llbkit.frontends.base.Ref`: a graph that is solved when somebody looks inside, once; it keeps the result.

    ``graph`` is as the frontend made it; what is solved is what the passes make of it, unless ``optimizing`` is off.
    """

    def __init__(self, graph: Graph, job: Job, *, optimizing: bool = True) -> None:
        self.graph = graph
        self._job = job
        self._optimizing = optimizing
        self._value: Result | None = None
        self._solved = False

    def optimized(self, seen: Seen = Seen.LAYERS) -> Optimized:
        """Return what the passes make of the graph; ``seen`` is what will be seen of its head."""
        return optimized(self.graph, seen, optimizing=self._optimizing)

    async def value(self, seen: Seen = Seen.LAYERS) -> Result | None:
        """Return the worker's result, solving the graph first if that has not happened; None is scratch."""
        if not self._solved:
            # Asking twice at the same time is fine: the job solves equal vertices once.
            done = self.optimized(seen)
            result = await self._job.solve(done.graph, parts=done.parts)
            if not self._solved:
                self._value = result.clone() if result is not None else None
                self._solved = True
        return self._value


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
    _read: dict[str, str] = field(default_factory=dict)  # paths that were read, the vertices that gave them

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

    async def solve(self, state: State, *, platform: Platform | None = None) -> Ref:
        """Return a lazy handle on a state."""
        graph = state.graph(platform=platform or self.worker.platforms[0], caps=self.caps)
        return EngineRef(graph, self.job, optimizing=self.optimizing)

    async def read_file(self, ref: Ref, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file's content. Raises FileNotFoundError, IsADirectoryError."""
        data = await self.worker.read_file(await _value(ref), path, offset=offset, length=length)
        if isinstance(ref, EngineRef) and ref.graph.head is not None:
            self._read[path] = ref.graph.head.vertex.digest
        return data

    async def read_dir(self, ref: Ref, path: str, *, include: str = "") -> Sequence[Stat]:
        """Return a directory's entries, sorted by name. Raises FileNotFoundError."""
        return [
            _stat(entry) for entry in await self.worker.read_dir(await _value(ref), path, include=include)
        ]

    async def stat_file(self, ref: Ref, path: str) -> Stat:
        """Return one path's metadata. Raises FileNotFoundError."""
        return _stat(await self.worker.stat_file(await _value(ref), path))

    async def inputs(self) -> Mapping[str, State]:
        """Return the states that the caller passed in by name."""
        return self.frontend_inputs

    async def warn(self, diagnostic: Diagnostic) -> None:
        """Report a warning of the frontend, beside the step that read the text."""
        name = diagnostic.span.source.name if diagnostic.span else ""
        line = f" (line {diagnostic.span.start_line})" if diagnostic.span else ""
        self.progress(
            VertexWarning(
                digest=self._read.get(name) or digest_of("[internal] load build definition"),
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


async def _value(ref: Ref) -> Result | None:
    assert isinstance(ref, EngineRef), "refs must come from this bridge"
    return await ref.value()


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
