# SPDX-License-Identifier: Apache-2.0
"""The build context as a source whose paths become known only while the instructions are lowered."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llb import local
from llb.graph import Edge
from llb.nodes import Base, Made, Output
from llb.options import Constraints
from llb.state import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextNode:
    """A local directory; ``paths`` fills up until the graph is made, "/" in it stands for everything."""

    name: str
    session_id: str
    ignored: tuple[str, ...]
    shared_key_hint: str
    title: str
    paths: set[str] = field(default_factory=set)
    constraints: Constraints = field(default_factory=Constraints)

    def reads(self, base: Base) -> Sequence[Output]:
        """A source reads nothing."""
        return ()

    def index_of(self, slot: int | str) -> int:
        """A source has one output."""
        return 0

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> Made:
        """Return the source op with the paths collected so far."""
        relative = sorted({posixpath.normpath(posixpath.join("/", path)).lstrip("/") for path in self.paths})
        output = local(
            self.name,
            session_id=self.session_id,
            follow_paths=() if "" in relative else relative,
            exclude_patterns=self.ignored,
            shared_key_hint=self.shared_key_hint,
        ).output
        assert output is not None, "a local source is not scratch"
        return output.node.make(base, edge)


def context_state(node: ContextNode) -> State:
    """Return the state of a context."""
    return State().with_output(Output(node))


def paths_of(state: State) -> set[str] | None:
    """Return the paths that are read of a context, to be added to; None if the state is no context."""
    output = state.output
    return output.node.paths if output is not None and isinstance(output.node, ContextNode) else None


def read_whole(state: State) -> None:
    """Note that all of a state is used, if it is a context."""
    paths = paths_of(state)
    if paths is not None:
        paths.add("/")
