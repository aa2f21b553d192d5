# SPDX-License-Identifier: Apache-2.0
"""Random file ops, merges and diffs give the trees of a model that is a dict from path to node."""

from __future__ import annotations

import copy
import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.filemodel import DIR, TIME, Layer, Model, ModelError, Tree, actions, apply

from llbkit.llb.ir import ops
from llbkit.llb.ir.ops import MkDir, MkFile, Symlink
from llbkit.records import dataclass
from llbkit.worker.base import FileOpError, Snapshot

pytestmark = pytest.mark.root

_SPEC = importlib.util.spec_from_file_location(
    "worker_files_world", Path(__file__).parent.parent / "unit" / "worker_files" / "conftest.py"
)
world_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(world_module)

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("file"),
            st.integers(0, 99),
            st.integers(0, 99),
            st.lists(actions(), min_size=1, max_size=4),
        ),
        st.tuples(st.just("merge"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("diff"), st.integers(0, 99), st.integers(0, 99)),
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class State:
    snapshot: Snapshot
    layers: list[Layer]

    @property
    def tree(self) -> Tree:
        return apply(self.layers)


def shown(world, snapshot: Snapshot) -> Tree:
    return {
        path: DIR if node[0] == "dir" else ("link", node[2]) if node[0] == "link" else node[3]
        for path, node in world.look(snapshot).items()
    }


@pytest.fixture(scope="module")
def world():
    root = Path(tempfile.mkdtemp())
    made = world_module.World(root / "state")
    yield made
    made.close()
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def start(world):
    return seeds(world)


def run_chain(world, base: State, source: State, chain: list[ops.Action]) -> State | None:
    """Carry out what the model can carry out of a chain; the first that it cannot must fail."""
    model, done, refused = Model(base.tree), [], None
    for action in chain:
        attempt = copy.deepcopy(model)
        try:
            attempt.act(action, source.tree)
        except ModelError:
            refused = refused or [*done, action]
        else:
            model = attempt
            done.append(action)
    if refused:
        with pytest.raises(FileOpError):
            world.files(*refused, base=base.snapshot, source=source.snapshot)
    if not done:
        return None
    made = State(
        world.files(*done, base=base.snapshot, source=source.snapshot), [*base.layers, model.layer()]
    )
    assert shown(world, made.snapshot) == model.tree
    return made


def seeds(world) -> list[State]:
    """Start from scratch and from two trees that have something of everything."""
    first = [
        MkDir(path="/a/b/c", mode=0o755, make_parents=True, timestamp=TIME),
        MkFile(path="/a/b/a", mode=0o644, data=b"1", timestamp=TIME),
        MkFile(path="/a/c", mode=0o644, data=b"two", timestamp=TIME),
        Symlink(oldpath="a/b", newpath="/c", timestamp=TIME),
    ]
    second = [
        MkDir(path="/b/a", mode=0o755, make_parents=True, timestamp=TIME),
        MkFile(path="/b/a/c", mode=0o644, data=b"3", timestamp=TIME),
        Symlink(oldpath="/b", newpath="/b/b", timestamp=TIME),
        MkFile(path="/a", mode=0o644, data=b"", timestamp=TIME),
    ]
    scratch = State(Snapshot(), [])
    made = [run_chain(world, scratch, scratch, chain) for chain in (first, second)]
    return [scratch, *(state for state in made if state)]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_random_programs_give_the_trees_of_the_model(world, start, program) -> None:
    states = list(start)
    for kind, first, second, *rest in program:
        one, two = states[first % len(states)], states[second % len(states)]
        if kind == "file":
            made = run_chain(world, one, two, rest[0])
            if made is None:
                continue
        elif kind == "merge":
            snapshot = world.run(ops.Merge(inputs=(0, 1)), one.snapshot, two.snapshot)[0]
            made = State(snapshot, [*one.layers, *two.layers])
        else:
            diff = world.run(ops.Diff(lower=0, upper=1), one.snapshot, two.snapshot)[0]
            both = world.run(ops.Merge(inputs=(0, 1)), one.snapshot, diff)[0]
            assert shown(world, both) == shown(world, two.snapshot)
            if two.snapshot.layers[: len(one.snapshot.layers)] != one.snapshot.layers:
                continue  # a computed layer; what it is on its own is its own affair
            made = State(diff, two.layers[len(one.layers) :] if len(two.layers) >= len(one.layers) else [])
            if len(made.layers) != len(diff.layers):
                continue  # stacks with layers that occur twice
        assert shown(world, made.snapshot) == made.tree
        states.append(made)
