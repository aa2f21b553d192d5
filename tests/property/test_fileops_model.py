# SPDX-License-Identifier: Apache-2.0
"""Random file ops, merges and diffs give the trees of a model that is a dict from path to node."""

from __future__ import annotations

import copy
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llb import ops
from llb.ops import Copy, MkDir, MkFile, Rm, Symlink
from worker.base import FileOpError, Snapshot

pytestmark = pytest.mark.root

_SPEC = importlib.util.spec_from_file_location(
    "worker_files_world", Path(__file__).parent.parent / "unit" / "worker_files" / "conftest.py"
)
world_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(world_module)

DIR = "dir"
WHITEOUT = "whiteout"
Tree = dict[str, object]  # path -> DIR | bytes | ("link", target)


class ModelError(Exception):
    """The model says that the action cannot be done."""


def up(path: str) -> str:
    return path.rpartition("/")[0]


def parts(path: str) -> list[str]:
    return [p for p in path.split("/") if p]


def resolve(tree: Tree, path: str, *, last: bool = True, budget: list[int] | None = None) -> str:
    """Resolve links as a chroot does, by recursion on the first link found."""
    budget = budget or [300]
    done: list[str] = []
    todo = parts(path)
    for index, name in enumerate(todo):
        if name == "..":
            done = done[:-1]
            continue
        if name == ".":
            continue
        node = tree.get("/".join([*done, name]))
        if isinstance(node, tuple) and (last or index < len(todo) - 1):
            budget[0] -= 1
            if budget[0] < 0:
                raise ModelError("circle")
            start = "" if node[1].startswith("/") else "/".join(done)
            rest = "/".join(todo[index + 1 :])
            return resolve(tree, f"{start}/{node[1]}/{rest}", last=last, budget=budget)
        done.append(name)
    return "/".join(done)


def below(tree: Tree, path: str) -> list[str]:
    return [p for p in tree if p == path or p.startswith(path + "/") or not path]


@dataclass
class Layer:
    """What a chain changes: nodes and whiteouts by path, and directories that hide what lies below them."""

    nodes: Tree
    opaque: set[str] = field(default_factory=set)


def apply(layers: list[Layer]) -> Tree:
    tree: Tree = {}
    for layer in layers:
        for path in sorted(layer.nodes, key=parts):
            node = layer.nodes[path]
            hides = node != DIR or tree.get(path, DIR) != DIR or path in layer.opaque
            if hides:
                for gone in below(tree, path):
                    del tree[gone]
            if node != WHITEOUT:
                tree[path] = node
    return tree


class Model:
    """One writable tree and what was touched in it."""

    def __init__(self, base: Tree) -> None:
        self.base, self.tree = base, dict(base)
        self.touched: set[str] = set()
        self.removed: set[str] = set()

    def layer(self) -> Layer:
        nodes: Tree = {}
        for path in self.touched:
            nodes[path] = self.tree.get(path, WHITEOUT if path in self.base else None)
            while path := up(path):
                if path in self.tree:
                    nodes[path] = self.tree[path]
        nodes |= {path: WHITEOUT for path in self.removed if path in self.base and path not in self.tree}
        nodes = {
            p: n
            for p, n in nodes.items()
            if n is not None and not (n == WHITEOUT and self.tree.get(up(p), DIR) != DIR)
        }
        nodes = {p: n for p, n in nodes.items() if n != WHITEOUT or not up(p) or up(p) in self.tree}
        opaque = {p for p in self.removed if p in self.base and self.tree.get(p) == DIR}
        return Layer(nodes, opaque)

    def put(self, path: str, node: object) -> None:
        self.tree[path] = node
        self.touched.add(path)

    def remove(self, path: str) -> None:
        for gone in below(self.tree, path):
            del self.tree[gone]
            self.removed.add(gone)
            self.touched.add(gone)

    def make_directories(self, path: str) -> None:
        steps = parts(path)
        for count in range(1, len(steps) + 1):
            here = "/".join(steps[:count])
            if here not in self.tree:
                self.put(here, DIR)
            elif self.tree[here] != DIR:
                raise ModelError(f"{here} is no directory")

    def is_dir(self, path: str) -> bool:
        return not path or self.tree.get(path) == DIR

    def act(self, action: ops.Action, source: Tree) -> None:
        match action:
            case MkDir():
                path = resolve(self.tree, action.path)
                if action.make_parents:
                    self.make_directories(path)
                elif path and path not in self.tree:
                    if not self.is_dir(up(path)):
                        raise ModelError("parent")
                    self.put(path, DIR)
            case MkFile():
                path = resolve(self.tree, action.path)
                if self.is_dir(path) or not self.is_dir(up(path)):
                    raise ModelError("mkfile")
                self.put(path, action.data)
            case Rm():
                path = resolve(self.tree, action.path, last=False)
                if path not in self.tree:
                    if not action.allow_not_found:
                        raise ModelError("rm")
                    return
                self.remove(path)
            case Symlink():
                self.link(action)
            case Copy():
                self.copy(action, source)

    def link(self, action: Symlink) -> None:
        path = resolve(self.tree, action.newpath, last=False)
        if path in self.tree or not self.is_dir(up(path)):
            raise ModelError("symlink")
        self.put(path, ("link", action.oldpath))

    def copy(self, action: Copy, source: Tree) -> None:
        src = resolve(source, action.src)
        if src and src not in source:
            raise ModelError("no source")
        is_dir = not src or source[src] == DIR
        dest = "/".join(parts(action.dest))
        self.make_directories(resolve(self.tree, dest if action.dest.endswith("/") else up(dest)))
        target = resolve(self.tree, dest)
        if not is_dir and self.is_dir(target):
            target = "/".join([*parts(target), parts(action.src)[-1]])
        if is_dir and target and target not in self.tree:
            self.make_directories(target)
        elif not is_dir:
            self.make_directories(up(target))
        if not src:
            self.place(target, DIR, action, root=True)
        for path in sorted(below(source, src), key=parts):
            tail = path[len(src) :].strip("/")
            self.place("/".join([*parts(target), *parts(tail)]), source[path], action, root=not tail)

    def place(self, path: str, node: object, action: Copy, *, root: bool) -> None:
        there = self.tree.get(path, None if path else DIR)
        if node == DIR:
            if there == DIR:
                if not root:
                    self.touched.add(path)
                return
            if there is not None:
                if not action.always_replace_existing_dest_paths:
                    raise ModelError("directory onto a file")
                self.remove(path)
        elif there == DIR and not action.always_replace_existing_dest_paths:
            raise ModelError("file onto a directory")
        elif there is not None:
            self.remove(path)
        self.put(path, node)


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
TARGETS = st.one_of(PATHS, st.sampled_from(["a", "../b", "../../c", "b/c", "."]))
TIME = 7_000_000_000


@st.composite
def actions(draw) -> ops.Action:
    kind = draw(st.sampled_from(["mkdir", "mkfile", "rm", "symlink", "copy", "copy", "copy"]))
    path = draw(PATHS)
    match kind:
        case "mkdir":
            return MkDir(path=path, mode=0o755, make_parents=draw(st.booleans()), timestamp=TIME)
        case "mkfile":
            data = draw(st.sampled_from([b"", b"1", b"two"]))
            return MkFile(path=path, mode=0o644, data=data, timestamp=TIME)
        case "rm":
            return Rm(path=path, allow_not_found=draw(st.booleans()))
        case "symlink":
            return Symlink(oldpath=draw(TARGETS), newpath=path, timestamp=TIME)
    return Copy(
        src=draw(st.one_of(PATHS, st.just("/"))),
        dest=path + draw(st.sampled_from(["", "/"])),
        mode=-1,
        timestamp=TIME,
        follow_symlink=True,
        dir_copy_contents=True,
        create_dest_path=True,
        always_replace_existing_dest_paths=draw(st.booleans()),
    )


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
