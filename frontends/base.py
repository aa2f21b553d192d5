# SPDX-License-Identifier: Apache-2.0
"""The contracts between a frontend (text to LLB) and whatever engine runs it.

The same frontend object runs in process, offline against recorded image metadata, and as a container under any
BuildKit: nothing in a frontend may depend on which. The contract is BuildKit's ``LLBBridge`` in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Literal, Protocol

from llbkit.grammar import Diagnostic, DiagnosticError
from llbkit.llb.builder.state import State
from llbkit.llb.ir.graph import Graph
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

ResolveMode = Literal["default", "pull", "local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """Answer of `Bridge.resolve_image`: canonical reference, manifest or index digest, image config bytes."""

    ref: str
    digest: str
    config: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSource:
    """Answer of `Bridge.resolve_source`: the source as it should be used, and what is known about it."""

    identifier: str
    attrs: Mapping[str, str]
    checksum: str = ""
    ref: str = ""
    commit_object: bytes = b""
    filename: str = ""
    last_modified: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One directory entry. ``path`` is relative to the asked directory, ``mode`` as in ``os.stat``, ns times."""

    path: str
    mode: int
    size: int
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    linkname: str = ""


class Ref(Protocol):
    """A handle on a result (BuildKit's ``Reference``). Lazy: nothing is executed until it is evaluated or read."""

    @property
    def id(self) -> str:
        """Names the result in its build: the digest of its definition's head, "" for scratch."""

    def definition(self) -> Graph:
        """Return the graph that makes the result, as its frontend wrote it."""

    async def evaluate(self) -> None:
        """Make the result, if that has not happened."""

    async def read_file(self, path: str, *, offset: int = 0, length: int = 0) -> bytes:
        """Return a file's content; ``length`` 0 means to the end. Raises FileNotFoundError, IsADirectoryError."""

    async def read_dir(self, path: str, *, include: str = "") -> Sequence[Stat]:
        """Return a directory's entries, sorted by name. Raises FileNotFoundError."""

    async def stat_file(self, path: str) -> Stat:
        """Return one path's metadata. Raises FileNotFoundError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveRequest:
    """What `Bridge.solve` is asked for: either a state or graph as ``definition``, or a ``frontend`` by its name.

    A frontend gets ``options`` and ``inputs``, and nothing else of the build that asks. ``platform`` is that of a state
    whose own is open; None is the engine's. ``evaluate`` makes the results before the answer comes.
    """

    definition: State | Graph | None = None
    frontend: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    inputs: Mapping[str, State] = field(default_factory=lambda: MappingProxyType({}))
    platform: Platform | None = None
    evaluate: bool = False

    def __post_init__(self) -> None:
        if (self.definition is None) == (not self.frontend):
            raise ValueError("a solve request has either a definition or a frontend")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformResult:
    """One platform's result. ``id`` is the key in a multi-platform result ("linux/amd64")."""

    id: str
    platform: Platform
    ref: Ref | None
    config: bytes | None = None
    base_config: bytes | None = None
    metadata: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a frontend returns. ``multi`` makes exporters write an index even for one platform.

    ``metadata`` holds results without a platform suffix (``source.date.epoch``, the answers of subrequests).
    """

    results: tuple[PlatformResult, ...]
    multi: bool = False
    metadata: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def ref(self) -> Ref:
        """The handle of the only result. Raises ValueError: there are several, or it is scratch."""
        if len(self.results) != 1 or self.results[0].ref is None:
            raise ValueError("not a single result")
        return self.results[0].ref


class Bridge(Protocol):
    """The interface of a frontend to its engine."""

    @property
    def options(self) -> Mapping[str, str]:
        """The frontend attributes: ``filename``, ``target``, ``build-arg:X``, ``platform``, ``context:X``, ..."""

    @property
    def build_platforms(self) -> Sequence[Platform]:
        """Platforms the worker runs, its own first."""

    @property
    def caps(self) -> frozenset[str] | None:
        """LLB capabilities that are offered; None: all of them."""

    @property
    def session_id(self) -> str:
        """Goes into local sources."""

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
        """Return digest and config of an image (from a registry, or of an OCI layout if ``oci_store`` is set).

        Raises:
            ResolveError: the image or platform does not exist, or it cannot be reached.
        """

    async def resolve_source(
        self, identifier: str, attrs: Mapping[str, str], *, log_name: str = ""
    ) -> ResolvedSource:
        """Return what is known about a git or HTTP source without fetching it."""

    async def solve(self, request: SolveRequest) -> BuildResult:
        """Return lazy results: of a definition, or of another frontend.

        Raises:
            NoFrontendError: there is no frontend of that name.
        """

    async def inputs(self) -> Mapping[str, State]:
        """Return the states that the caller passed in by name."""

    async def warn(self, diagnostic: Diagnostic) -> None:
        """Report a warning (a build check). It is shown at the end of the build."""


class ResolveError(Exception):
    """An image or source could not be resolved. Message and ``help`` (the next step) are for users.

    ``unreachable`` tells that nobody could be asked: it may exist.
    """

    def __init__(self, message: str, *, help: str = "", unreachable: bool = False) -> None:  # noqa: A002
        super().__init__(message)
        self.help = help
        self.unreachable = unreachable


class NoFrontendError(DiagnosticError):
    """There is no frontend of this ``name``."""

    def __init__(self, name: str, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic)
        self.name = name


async def solve_state(bridge: Bridge, state: State, *, platform: Platform | None = None) -> Ref:
    """Return a lazy handle on a state."""
    return (await bridge.solve(SolveRequest(definition=state, platform=platform))).ref


class Frontend(Protocol):
    """A language that builds images."""

    @property
    def name(self) -> str:
        """What ``#syntax=`` and ``--frontend`` say."""

    async def build(self, bridge: Bridge) -> BuildResult:
        """Read the program through ``bridge`` and return lazy results.

        Raises:
            grammar.DiagnosticError: the program is wrong.
        """


__all__ = [
    "Bridge",
    "BuildResult",
    "Frontend",
    "NoFrontendError",
    "PlatformResult",
    "Ref",
    "ResolveError",
    "ResolveMode",
    "ResolvedImage",
    "ResolvedSource",
    "SolveRequest",
    "Stat",
    "solve_state",
]
