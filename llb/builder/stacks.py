# SPDX-License-Identifier: Apache-2.0
"""Ops that combine states: merge, diff, build and passthrough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from llbkit.llb.builder.arguments import expect, expect_all
from llbkit.llb.builder.nodes import Base, EdgeList, Node, Output, VertexSpec
from llbkit.llb.builder.options import Constraints, Options
from llbkit.llb.builder.state import State
from llbkit.llb.errors import StateError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _StackNode:
    """Merge, diff, build or passthrough: an op made of its inputs' numbers."""

    sources: tuple[Output | None, ...]
    constraints: Constraints
    op: Callable[[tuple[int, ...]], ops.Op]
    caps: tuple[str, ...]
    specific: bool = False
    distinct: bool = False
    error: str = ""

    @property
    def fixed_platform(self) -> None:
        pass

    def reads(self, base: Base) -> Sequence[Output]:
        return list(dict.fromkeys(output for output in self.sources if output is not None))

    def index_of(self, slot: int | str) -> int:
        assert isinstance(slot, int), "its outputs are numbered"
        return slot

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        if self.error:
            raise StateError(self.error)
        platform = (self.constraints.platform or base.platform) if self.specific else None
        if self.distinct:
            edges = [edge(output) for output in self.sources if output is not None]
            numbers, count = [], 0
            for output in self.sources:
                numbers.append(count if output is not None else -1)
                count += output is not None
            return VertexSpec(
                op=self.op(tuple(numbers)), inputs=tuple(edges), caps=self.caps, platform=platform
            )
        inputs = EdgeList(edge)
        numbers = [inputs.add(output) if output is not None else -1 for output in self.sources]
        return VertexSpec(
            op=self.op(tuple(numbers)), inputs=tuple(inputs.edges), caps=self.caps, platform=platform
        )


def merge(inputs: Sequence[State], **options: Unpack[Options]) -> State:
    """Lay states over each other, the first at the bottom; scratch ones do not count.

    >>> from llbkit.llb import image, scratch
    >>> both = merge([image("alpine"), scratch().mkfile("/a", "1"), scratch().mkfile("/b", "2")])
    >>> both.graph().head.vertex.op.inputs
    (0, 1, 2)
    """
    expect_all("merge", "inputs", inputs, State)
    real = [state for state in inputs if state.output is not None]
    if not real:
        return State()
    if len(real) == 1:
        return real[0]
    node = _StackNode(
        sources=tuple(state.output for state in real),
        constraints=Constraints.of(options),
        op=lambda numbers: ops.Merge(inputs=numbers),
        caps=("mergeop",),
        distinct=True,
    )
    return real[0].with_output(Output(node))


def diff(lower: State, upper: State, **options: Unpack[Options]) -> State:
    """Return what ``upper`` changes over ``lower``.

    >>> from llbkit.llb import image
    >>> base = image("alpine")
    >>> added = diff(base, base.run("apk add make").root)  # only the files that the step wrote
    >>> added.graph().head.vertex.op
    Diff(lower=0, upper=1)
    """
    expect("diff", "lower", lower, State)
    expect("diff", "upper", upper, State)
    if lower.output is None:
        return upper if upper.output is not None else State()
    node = _StackNode(
        sources=(lower.output, upper.output),
        constraints=Constraints.of(options),
        op=lambda numbers: ops.Diff(lower=numbers[0], upper=numbers[1]),
        caps=("diffop",),
        distinct=True,
    )
    return State().with_output(Output(node))


def build(source: State, *, filename: str = "", **options: Unpack[Options]) -> State:
    """Solve the definition in a file of ``source``.

    >>> from llbkit.llb import local
    >>> build(local("plans"), filename="app.pb").graph().head.vertex.op.attrs["llbbuild.filename"]
    'app.pb'
    """
    expect("build", "source", source, State)
    key = "buildkit.llb.definition"
    attrs = {"llbbuild.filename": filename} if filename else {}
    node = _StackNode(
        sources=(source.output,),
        constraints=Constraints.of(options),
        op=lambda numbers: ops.Build(builder=-1, inputs={key: numbers[0]}, attrs=attrs),
        caps=("source.buildop.llbfilename",),
        specific=True,
    )
    return State().with_output(Output(node))


def passthrough(
    dep_id: str, inputs: Sequence[State], outputs: Sequence[bool], **options: Unpack[Options]
) -> list[State]:
    """Return the inputs marked in ``outputs``; whoever uses one has all of them solved. Scratch ones do not count.

    >>> from llbkit.llb import image
    >>> app, _ = passthrough("checked", [image("app"), image("test")], [True, True])
    >>> len(app.graph())
    3
    """
    real = [
        (state, wanted) for state, wanted in zip(inputs, outputs, strict=True) if state.output is not None
    ]
    kept = [number for number, (_, wanted) in enumerate(real) if wanted]
    node: Node = _StackNode(
        sources=tuple(state.output for state, _ in real),
        constraints=Constraints.of(options),
        op=lambda numbers: ops.Passthrough(id=dep_id, outputs=tuple(numbers[number] for number in kept)),
        caps=("passthroughop",),
        error="" if dep_id else "passthrough requires an id",
    )
    return [real[number][0].with_output(Output(node, slot)) for slot, number in enumerate(kept)]


def requires(state: State, dep_id: str, deps: Sequence[State], **options: Unpack[Options]) -> State:
    """Return ``state``, to be had only once ``deps`` are solved.

    Raises:
        StateError: it is scratch, which is always to be had.

    >>> from llbkit.llb import image
    >>> tested = image("golang").run("go test ./...").root
    >>> len(requires(image("app"), "tests", [tested]).graph())  # the test's steps come along
    4
    """
    if state.output is None:
        raise StateError("scratch cannot require anything")
    return passthrough(dep_id, [state, *deps], [True, *(False for _ in deps)], **options)[0]
