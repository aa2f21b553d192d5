# SPDX-License-Identifier: Apache-2.0
"""Graphs far deeper and wider than the stack: nothing that is done with them recurses, and no part is asked for twice."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import Counter

import pytest

from llbkit.llb import image, merge, scratch
from llbkit.llb.builder.files import Chain, mkfile
from llbkit.llb.builder.files import copy as copy_action
from llbkit.llb.builder.options import as_platform
from llbkit.llb.builder.state import ExecState
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.ir.ops import Merge, Source
from llbkit.llb.ir.verify import verify
from llbkit.llb.ir.walk import no_garbage, postorder
from llbkit.llb.wire import decode, encode

DEEP = 5000
"""Many times the depth of Python's stack."""


def chain() -> ExecState:
    state = image("docker.io/library/debian:12").run("start")
    for number in range(DEEP):
        state = state.run(("step", str(number)))
    return state


@pytest.fixture(scope="module")
def deep() -> Graph:
    return chain().graph(platform="linux/amd64")


def test_a_deep_state_is_compared_hashed_and_shown() -> None:
    state = chain()
    assert state != chain()
    assert state.output == state.root.output
    assert len({state, state.root, state.output}) == 3
    assert repr(state) == "<ExecState exec step 4999>"
    assert copy.deepcopy(state) is copy.copy(state) is state


def test_a_state_says_why_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match=r"pickle state\.graph"):
        pickle.dumps(chain())


def test_a_deep_graph_survives_the_wire(deep) -> None:
    again = decode(encode(deep))
    assert again.vertices == deep.vertices
    assert encode(Graph(vertices=again.vertices, head=again.head)) != b""
    verify(again)


def test_a_deep_graph_is_compared_hashed_shown_copied_and_pickled(deep) -> None:
    again = pickle.loads(pickle.dumps(deep))
    assert again.head == deep.head
    assert hash(again.head) == hash(deep.head)
    assert again.metadata == deep.metadata
    assert again.terminal == deep.terminal
    assert "inputs" not in repr(deep.head)
    assert copy.deepcopy(deep) is copy.copy(deep) is deep
    edge = pickle.loads(pickle.dumps(Edge(deep.vertices[-1], 0)))
    assert edge == deep.head
    assert edge.vertex.inputs == deep.vertices[-1].inputs
    assert copy.deepcopy(edge.vertex) is copy.copy(edge.vertex) is edge.vertex


def test_scratch_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(scratch().graph())).head is None


class Word(str):
    """A word that weak references can point to."""

    __slots__ = ("__weakref__",)


def test_a_deep_state_is_freed_without_a_search_for_cycles() -> None:
    word = Word("first")
    alive = weakref.ref(word)
    state = scratch().run((word,))
    for number in range(DEEP):
        state = state.env("X", str(number)).run(("step", str(number)))
    graph = state.graph(platform="linux/amd64")
    gc.disable()
    try:
        del word, state
        kept = len(graph)
        del graph
        assert alive() is None
    finally:
        gc.enable()
    assert kept == DEEP + 1


def test_chains_that_copy_from_chains_may_be_nested_deeply() -> None:
    nested = Chain(scratch(), (mkfile("/f", "x"),))
    for _ in range(DEEP):
        nested = Chain(scratch(), (copy_action(nested, "/f", "/f"),))
    graph = scratch().file(copy_action(nested, "/f", "/g")).graph()
    actions = graph.head.vertex.op.actions
    assert len(actions) == DEEP + 2
    assert [item.secondary_input for item in actions] == list(range(-1, DEEP + 1))
    assert [item.output for item in actions] == [-1] * (DEEP + 1) + [0]
    repr(nested)


def test_settings_of_an_open_platform_are_derived_once_a_step() -> None:
    asked: Counter[int] = Counter()

    def counted(number: int):
        def change(settings):
            asked[number] += 1
            return settings

        return change

    from llbkit.llb.builder.settings import LazySettings, Settings

    settings = LazySettings(base=lambda platform: Settings(platform=platform))
    platform = as_platform("linux/amd64")
    for number in range(DEEP):
        settings = settings.then(counted(number))
        settings.at(platform)
    assert set(asked.values()) == {1}
    late = LazySettings(base=lambda platform: Settings(platform=platform))
    for number in range(DEEP):
        late = late.then(lambda settings, number=number: settings.with_env("N", str(number)))
    assert late.at(platform).env == (("N", str(DEEP - 1)),)
    assert late.at(as_platform("linux/arm64")).platform.architecture == "arm64"


def test_a_walk_asks_for_the_inputs_of_an_item_once() -> None:
    asked: Counter[int] = Counter()

    def below(item: int) -> range:
        asked[item] += 1
        return range(item + 1, DEEP) if item == 0 else range(0)

    assert postorder([0, 1, 0], below) == [*range(1, DEEP), 0]
    assert set(asked.values()) == {1}


@pytest.mark.parametrize("edges", [{0: [0]}, {0: [1], 1: [2], 2: [0]}, {0: [1, 2], 1: [], 2: [3], 3: [2]}])
def test_a_walk_finds_cycles(edges) -> None:
    with pytest.raises(ValueError, match="cycle"):
        postorder([0], edges.__getitem__)


def test_one_vertex_may_have_all_the_inputs() -> None:
    leaves = [Vertex.make(Source(identifier=f"docker-image://x/{number}")) for number in range(DEEP)]
    top = Vertex.make(Merge(inputs=tuple(range(DEEP))), tuple(Edge(leaf) for leaf in leaves))
    graph = decode(encode(Graph(vertices=(*leaves, top), head=Edge(top))))
    assert graph.head == Edge(top)
    assert len(merge([scratch().mkfile(f"/{n}", "") for n in range(500)]).graph()) == 501


def fail_within() -> None:
    with no_garbage():
        with no_garbage():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise RuntimeError


def test_garbage_is_looked_for_again_whatever_happens() -> None:
    with pytest.raises(RuntimeError):
        fail_within()
    assert gc.isenabled()
    gc.disable()
    try:
        with no_garbage():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
