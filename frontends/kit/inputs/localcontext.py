# SPDX-License-Identifier: Apache-2.0
"""A local directory as a source whose paths are only known once the instructions are lowered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import field

from llbkit.llb import local
from llbkit.llb.builder.nodes import Base, Output, VertexSpec
from llbkit.llb.builder.options import Constraints
from llbkit.llb.builder.state import State
from llbkit.llb.ir.graph import Edge
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextNode:
    """A local directory; ``paths`` (absolute) fills up until the graph is made, "/" stands for everything."""

    name: str
    session_id: str
    ignored: tuple[str, ...]
    shared_key_hint: str
    paths: set[str] = field(default_factory=set)
    constraints: Constraints = field(default_factory=Constraints)

    @property
    def fixed_platform(self) -> None:
        """A directory is of no platform."""

    def reads(self, base: Base) -> Sequence[Output]:
        """A source reads nothing."""
        return ()

    def index_of(self, slot: int | str) -> int:
        """A source has one output."""
        return 0

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return the source op with the paths collected so far."""
        output = local(
            self.name,
            session_id=self.session_id,
            follow_paths=followed(self.paths),
            exclude_patterns=self.ignored,
            shared_key_hint=self.shared_key_hint,
        ).output
        assert output is not None, "a local source is not scratch"
        return output.node.make(base, edge)


def followed(paths: Collection[str]) -> list[str]:
    """Return collected paths as a source is told them: relative, sorted; none if everything is read."""
    if "/" in paths:
        return []
    return sorted(path.removeprefix("/") for path in paths)


def context_state(node: ContextNode) -> State:
    """Return the state of a context."""
    return State().with_output(Output(node))
