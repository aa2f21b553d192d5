# SPDX-License-Identifier: Apache-2.0
"""A model of file actions: a tree is a dict from path to node, a layer what a chain of actions changed in one."""

from __future__ import annotations

from dataclasses import field

from hypothesis import strategies as st

from llbkit.llb.ir import ops
from llbkit.llb.ir.ops import Copy, MkDir, MkFile, Rm, Symlink
from llbkit.records import dataclass

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
