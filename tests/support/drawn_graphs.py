# SPDX-License-Identifier: Apache-2.0
"""Random graphs of all ops that passes look at, and what they evaluate to in memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from support.filemodel import DIR, TIME, Layer, Model, ModelError, Tree, apply, up

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
from llbkit.llb.ir.walk import postorder

Stack = list[Layer]
"""Layers, bottom first. Layers with equal content are equal."""

SOURCES: dict[str, Stack] = {
    "docker-image://one": [
        Layer({"d": DIR, "d/f": b"1", "e": DIR, "l": ("link", "d")}),
        Layer({"d": DIR, "d/g": b"2", "e": "whiteout"}),
    ],
    "docker-image://two": [Layer({"d": DIR, "d/f": b"3", "e": DIR, "e/h": b"", "k": ("link", "/e/h")})],
    "local://context": [Layer({"d": DIR, "d/f": b"4", "f": b"5"})],
}


class Failed:
    """What a step gives that cannot be carried out, and all that needs it."""


FAILED = Failed()


def evaluate(head: Edge | None) -> Stack | Failed:
    """Return the layers of a head: file ops by the model, execs as unknown functions of what they can see."""
    if head is None:
        return []
    values: dict[tuple[Vertex, int], Stack | Failed] = {}
    for vertex in postorder([head.vertex], lambda v: [edge.vertex for edge in v.inputs]):
        inputs = [values.get((edge.vertex, edge.index), FAILED) for edge in vertex.inputs]
        try:
            results = _results(vertex.op, inputs)
        except ModelError:
            results = []
        values |= {(vertex, number): result for number, result in enumerate(results)}
    return values.get((head.vertex, head.index), FAILED)


def _used(inputs: Sequence[Stack | Failed], index: int) -> Stack:
    if index < 0:
        return []
    value = inputs[index]
    if isinstance(value, Failed):
        raise ModelError("an input failed")
    return value


def _results(op: ops.Op, inputs: Sequence[Stack | Failed]) -> list[Stack]:
    match op:
        case ops.Source(identifier=identifier):
            return [SOURCES[identifier]]
        case ops.Merge(inputs=numbers):
            return [[layer for number in numbers for layer in _used(inputs, number)]]
        case ops.Diff(lower=lower, upper=upper):
            return [_difference(_used(inputs, lower), _used(inputs, upper))]
        case ops.File():
            return _File(op, inputs).run()
        case ops.Exec():
            return _exec(op, inputs)
        case _:
            raise AssertionError("not drawn")


def _difference(lower: Stack, upper: Stack) -> Stack:
    """The layers by which one grew from the other, or one computed layer."""
    if upper[: len(lower)] == lower:
        return upper[len(lower) :]
    below, above = apply(lower), apply(upper)
    nodes: Tree = {path: node for path, node in above.items() if below.get(path) != node}
    nodes |= {path: "whiteout" for path in below if path not in above}
    for path in list(nodes):
        while path := up(path):
            if path in above:  # directories between are part of the layer
                nodes.setdefault(path, above[path])
    return [Layer(nodes)]


class _File:
    """One file op, with the worker's rule of when a state becomes a layer."""

    def __init__(self, op: ops.File, inputs: Sequence[Stack | Failed]) -> None:
        self.actions, self.inputs = op.actions, inputs
        self.active: dict[int, tuple[Stack, Model]] = {}
        self.committed: dict[int, Stack] = {}

    def run(self) -> list[Stack]:
        outputs: dict[int, int] = {}
        for number, item in enumerate(self.actions):
            index = len(self.inputs) + number
            base, model = self.base(item.input, number)
            self.active[index] = base, model
            owners = (
                [] if isinstance(item.action, ops.Rm) or item.action.owner is None else [item.action.owner]
            )
            for owner in owners:
                for who in (owner.user, owner.group):
                    if isinstance(who, ops.NamedUser):
                        _used(self.inputs, who.input)
            model.act(item.action, self.tree(item.secondary_input))
            if item.output >= 0:
                outputs[item.output] = index
        return [self.commit(outputs[number]) for number in range(len(outputs))]

    def base(self, index: int, number: int) -> tuple[Stack, Model]:
        if index in self.active and not self.wanted_after(index, number):
            return self.active.pop(index)
        layers = _used(self.inputs, index) if index < len(self.inputs) else self.commit(index)
        return layers, Model(apply(layers))

    def wanted_after(self, index: int, number: int) -> bool:
        own = self.actions[index - len(self.inputs)]
        later = self.actions[number + 1 :]
        return (
            own.output >= 0
            or self.actions[number].secondary_input == index
            or any(index in (item.input, item.secondary_input) for item in later)
        )

    def tree(self, index: int) -> Tree:
        if index < 0:
            return apply([])
        if index in self.active:
            return dict(self.active[index][1].tree)
        return apply(self.committed[index] if index >= len(self.inputs) else _used(self.inputs, index))

    def commit(self, index: int) -> Stack:
        if index not in self.committed:
            layers, model = self.active.pop(index)
            self.committed[index] = [*layers, model.layer()]
        return self.committed[index]


def _exec(op: ops.Exec, inputs: Sequence[Stack | Failed]) -> list[Stack]:
    """Each result is its mount's layers and one that is a function of all that the process can see.

    Of a cache mount that is the layers it begins with: the worker knows the cache by them.
    """
    last = {mount.dest: number for number, mount in enumerate(op.mounts)}
    seen: list[object] = [op.meta]
    for number, mount in enumerate(op.mounts):
        stack = _used(inputs, mount.input)
        if last[mount.dest] == number:
            layers = stack if mount.mount_type is ops.MountType.CACHE else []
            seen.append(
                (mount.dest, mount.readonly, mount.mount_type, sorted(apply(stack).items(), key=str), layers)
            )
    digest = hashlib.sha256(repr(seen).encode()).hexdigest()
    outputs = {mount.output: mount for mount in op.mounts if mount.output >= 0}
    results = []
    for number in range(len(outputs)):
        stack = _used(inputs, outputs[number].input)
        results.append(stack if outputs[number].readonly else [*stack, Layer({f"{digest}-{number}": b""})])
    return results


# -- drawing: by a seed, so that unlikely shapes are as frequent as they are meant to be; failing ones are not shrunk

_DIRS = ("/d", "/e", "/d/m", "/e/n")
_PATHS = ("/d/f", "/d/g", "/f", "/e", "/d", "/l", "/d/m/x")
_COPY = ops.Copy(src="/", dest="/", mode=-1, timestamp=-1, dir_copy_contents=True, create_dest_path=True)
_KINDS = ("file", "file", "read", "read", "flat", "merge", "diff", "exec")


SEEDS = st.integers(0, 2**40)


def drawn(seed: int) -> Graph:
    """Return a graph whose vertices' names are their numbers. In half of them the head reads a chain of file ops."""
    return _Drawing(random.Random(seed)).graph()


class _Drawing:
    """One graph; ``made`` holds the results that steps may use."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.made: list[Edge] = []

    def rarely(self) -> bool:
        return self.dice.random() < 0.1

    def some(self) -> Edge:
        return self.dice.choice(self.made)

    def graph(self) -> Graph:
        late = [Edge(Vertex.make(ops.Source(identifier=name))) for name in SOURCES]
        late.append(Edge(Vertex.make(ops.Source(identifier="local://context", attrs={"local.unique": "2"}))))
        self.dice.shuffle(late)
        kinds = self.dice.choices(_KINDS, k=self.dice.randrange(1, 7))
        reads = self.dice.random() < 0.5
        for kind in [*kinds, "read"] if reads else kinds:
            while late and (not self.made or self.dice.random() < 0.5):
                self.made.append(late.pop())
            vertex = self.vertex(kind)
            self.made.append(Edge(vertex))
            count = _outputs(vertex.op)
            if count > 1 and self.dice.random() < 0.5:
                self.made.append(Edge(vertex, count - 1))
        roots = [edge.vertex for edge in self.made]
        vertices = tuple(postorder(roots, lambda vertex: [edge.vertex for edge in vertex.inputs]))
        metadata = {
            vertex.digest: Metadata(
                description={"llb.customname": f"step {number}"}, ignore_cache=self.dice.random() < 0.04
            )
            for number, vertex in enumerate(vertices)
        }
        head = self.made[-1] if reads else self.dice.choice(self.made[-3:])
        return Graph(vertices=vertices, head=head, metadata=metadata)

    def vertex(self, kind: str) -> Vertex:
        match kind:
            case "file":
                return self.file(self.dice.choice([self.made[-1], self.some(), None]))
            case "read":
                return self.read()
            case "flat":
                return self.flat()
            case "merge":
                edges = [self.some() for _ in range(self.dice.randrange(1, 4))]
                return Vertex.make(ops.Merge(inputs=tuple(range(len(edges)))), tuple(edges))
            case "diff":
                edges = [self.some() for _ in range(self.dice.randrange(1, 3))]
                op = ops.Diff(lower=-1 if len(edges) == 1 else 0, upper=len(edges) - 1)
                return Vertex.make(op, tuple(edges))
            case _:
                return self.exec()

    def flat(self) -> Vertex:
        """Return a copy of a whole tree to scratch; now and then of a part, to elsewhere, or onto something."""
        copy = replace(
            _COPY, src="/d" if self.rarely() else "/", dest=self.dice.choice(["/", "/", "/", "/new"])
        )
        if self.rarely():
            item = ops.FileAction(action=copy, input=1, secondary_input=0, output=0)
            return Vertex.make(ops.File(actions=(item,)), (self.some(), self.some()))
        item = ops.FileAction(action=copy, input=-1, secondary_input=0, output=0)
        return Vertex.make(ops.File(actions=(item,)), (self.some(),))

    def read(self) -> Vertex:
        """Return what reads the files of a chain of file ops, or of a copy of a whole tree; others may use them too."""
        if self.dice.random() < 0.25:
            top = Edge(self.flat())
        else:
            top = self.some()
            for _ in range(self.dice.randrange(2, 5)):
                top = Edge(self.file(top))
                if self.rarely():
                    self.made.append(top)
        if self.rarely():
            self.made.append(top)
        base = self.some()
        mount = ops.Mount(dest="/r", input=1, output=-1, readonly=self.dice.random() < 0.5)
        match self.dice.choice(
            ["copy"] * 6 + ["mount"] * 6 + ["on itself", "kept", "cache", "merge", "diff"]
        ):
            case "copy" | "on itself" as how:
                onto = 0 if how == "on itself" else -1
                copy = replace(_COPY, src=self.dice.choice(["/d", "/d", "/f", "/"]), dest="/read/")
                item = ops.FileAction(action=copy, input=onto, secondary_input=0, output=0)
                return Vertex.make(ops.File(actions=(item,)), (top,))
            case "merge":
                return Vertex.make(ops.Merge(inputs=(0, 1)), (base, top))
            case "diff":
                return Vertex.make(ops.Diff(lower=0, upper=1), (base, top))
            case "kept":
                mount = replace(mount, output=1)
            case "cache":
                cache = ops.CacheOpt(id="c")
                mount = replace(mount, mount_type=ops.MountType.CACHE, cache=cache)
            case _:
                pass
        op = ops.Exec(meta=ops.Meta(args=("read",)), mounts=(ops.Mount(dest="/", input=0, output=0), mount))
        return Vertex.make(op, (base, top))

    def action(self) -> ops.Action:
        choose = self.dice.choice
        match choose(["mkdir", "mkdir", "mkdir", "root", "mkfile", "mkfile", "rm", "symlink"]):
            case "mkdir":
                return ops.MkDir(path=choose(_DIRS), mode=0o755, make_parents=True, timestamp=TIME)
            case "root":
                return ops.MkDir(path=choose(["/", "", "/."]), mode=0o755, make_parents=choose([True, False]))
            case "mkfile":
                data = choose([b"", b"7"])
                return ops.MkFile(path=choose(["/f", "/g", "/d/f"]), data=data, timestamp=TIME)
            case "rm":
                return ops.Rm(path=choose(_PATHS), allow_not_found=self.dice.random() < 0.8)
            case _:
                return ops.Symlink(oldpath="d", newpath=choose(["/l", "/s", "/d/s"]), timestamp=TIME)

    def copy(self) -> ops.Copy:
        choose = self.dice.choice
        src, dest = choose(["/", "/", "/d", "/d/f", "/f"]), choose(["/", "/d/", "/new", "/d/m/"])
        return replace(_COPY, src=src, dest=dest, always_replace_existing_dest_paths=choose([True, False]))

    def file(self, base: Edge | None) -> Vertex:
        inputs: list[Edge] = [base] if base is not None else []
        raw: list[tuple[ops.Action, int]] = []
        for _ in range(self.dice.choice([1, 1, 2, 2, 3])):
            if self.dice.random() < 0.2:
                edge = self.some()
                if edge not in inputs:
                    inputs.append(edge)
                raw.append((self.copy(), inputs.index(edge)))
            else:
                raw.append((self.action(), -1))
        if self.rarely():
            inputs.append(self.some())  # nothing refers to it
        count, first = len(inputs), 0 if base is not None else -1
        actions = [
            ops.FileAction(
                action=action,
                input=first if number == 0 else count + number - 1,
                secondary_input=source,
                output=0 if number == len(raw) - 1 else -1,
            )
            for number, (action, source) in enumerate(raw)
        ]
        if len(actions) > 1 and self.rarely():
            first_output = self.dice.choice([0, 1])
            actions[0] = replace(actions[0], output=first_output)
            actions[-1] = replace(actions[-1], output=1 - first_output)
        if base is not None and self.rarely() and not isinstance(last := actions[-1].action, ops.Rm):
            owner = ops.Chown(user=ops.NamedUser(name="u", input=0))
            actions[-1] = replace(actions[-1], action=replace(last, owner=owner))
        if len(actions) > 1 and self.rarely():
            actions[-1] = replace(actions[-1], input=first)
        return Vertex.make(ops.File(actions=tuple(actions)), tuple(inputs))

    def exec(self) -> Vertex:
        edges = [self.some() for _ in range(self.dice.randrange(1, 5))]
        mounts = [ops.Mount(dest="/", input=0, output=0)]
        outputs = 1
        for number in range(1, len(edges)):
            kind = self.dice.choice(["read", "read", "write", "result", "cache", "none"])
            if kind == "none":
                continue
            dest = self.dice.choice(["/m", "/m", "/n"])
            mount = ops.Mount(dest=dest, input=number, output=-1, readonly=kind == "read")
            if kind == "result":
                mount = replace(mount, output=outputs, readonly=self.dice.random() < 0.5)
                outputs += 1
            if kind == "cache":
                mount = replace(mount, mount_type=ops.MountType.CACHE, cache=ops.CacheOpt(id="c"))
            mounts.append(mount)
        op = ops.Exec(meta=ops.Meta(args=(self.dice.choice("xy"),)), mounts=tuple(mounts))
        return Vertex.make(op, tuple(edges), platform=ops.Platform(architecture="amd64", os="linux"))


def _outputs(op: ops.Op) -> int:
    match op:
        case ops.Exec(mounts=mounts):
            return sum(mount.output >= 0 for mount in mounts)
        case ops.File(actions=actions):
            return sum(item.output >= 0 for item in actions)
        case _:
            return 1
