# SPDX-License-Identifier: Apache-2.0
"""The operation of file ops: a chain of actions on writable snapshots.

A chain works on one writable file system as long as no intermediate state is needed elsewhere; a result that is wanted
later in that state, as an output or as the base of two actions, is committed and stacked upon.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import assert_never

from llbkit.llb.ir.graph import Vertex
from llbkit.llb.ir.ops import (
    Chown,
    Copy,
    File,
    FileAction,
    MkDir,
    MkFile,
    NamedUser,
    Rm,
    Source,
    Symlink,
    UserOpt,
)
from llbkit.solver.ports import CacheMap, ContentKey, InputKey, Json, Step
from llbkit.worker.base import SCRATCH, ActiveSnapshot, Snapshot, Snapshotter, WorkerError
from llbkit.worker.fs.contenthash import ContentHasher, misses
from llbkit.worker.fs.owners import named_inputs, owner_of
from llbkit.worker.fs.select.selection import Selection, of_copy
from llbkit.worker.fs.tree import DirectoryTree, Tree
from llbkit.worker.fs.writable import WritableRoot, as_file_error, is_about_storage
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.ops.file.actions import make_directory, make_file, make_symlink, remove
from llbkit.worker.ops.file.copy import copy, sources
from llbkit.worker.results import Ensure, Filesystem, Views, by_kind

_VERSION = "llbkit.file.4"
_WHOLE = Selection()


class FileOperation:
    """Carries out a file op.

    Args:
        vertex: the vertex whose op it is.
        snapshotter: makes and shows snapshots.
        ensure: fetches and unpacks the layers of a snapshot.
        hasher: computes content keys of copy sources.
        pools: runs blocking work.
    """

    def __init__(
        self, vertex: Vertex, *, snapshotter: Snapshotter, ensure: Ensure, hasher: ContentHasher, pools: Pools
    ) -> None:
        assert isinstance(vertex.op, File), "made for file ops"
        self._vertex, self._op = vertex, vertex.op
        self._snapshotter, self._views = snapshotter, Views(snapshotter, ensure)
        self._hasher, self._pools = hasher, pools

    @property
    def resources(self) -> Mapping[str, int]:
        """One share of the disk."""
        return {"disk": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of the actions; copy sources count by content, bases by definition."""
        actions = [_described(item) for item in self._op.actions]
        text = json.dumps(actions, sort_keys=True, separators=(",", ":"))
        return CacheMap(
            digest="sha256:" + hashlib.sha256(f"{_VERSION}\n{text}".encode()).hexdigest(),
            inputs=tuple(self._input_key(index) for index in range(len(self._vertex.inputs))),
            ingredients={"kind": "file", "actions": [_readable(action) for action in actions]},
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Return the digest of what the actions select of an input.

        Raises:
            FileOpError: something that is copied is not there. So a misspelt source is reported at once, as in BuildKit,
                and not when the step's other inputs are made.
        """
        return await self._pools.run("disk", lambda token: self._key(index, value, step, token))

    def _key(self, index: int, value: Filesystem, step: Step, token: Token) -> ContentKey:
        key = self._hasher.key(value, self._selections(index), token)
        if misses(key):
            with self._views.tree(value, token, _Report(step)) as tree:
                self._require_sources(index, tree)
        return key

    def _require_sources(self, index: int, tree: Tree) -> None:
        for number, item in enumerate(self._op.actions):
            if isinstance(item.action, Copy) and item.secondary_input == index:
                try:
                    sources(tree, item.action, origin=self.origin(index))
                except WorkerError as error:
                    error.part = number
                    raise

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Carry out the actions.

        Raises:
            FileOpError: an action cannot be done.
        """
        return await self._pools.run("disk", lambda token: self._run(inputs, step, token))

    def _run(self, inputs: Sequence[Filesystem], step: Step, token: Token) -> list[Filesystem]:
        with ExitStack() as stack:
            return _Chain(self, inputs, step, token, stack).run()

    def _selections(self, index: int) -> list[Selection]:
        """Return what is read of an input: all of a base, else what the copies from it select."""
        if any(item.input == index for item in self._op.actions) or index in self._naming():
            return [_WHOLE]
        found: dict[str, Selection] = {}
        for item in self._op.actions:
            if isinstance(item.action, Copy) and item.secondary_input == index:
                selection = of_copy(item.action)
                found.setdefault(selection.text, selection)
        return list(found.values())

    def _naming(self) -> frozenset[int]:
        """Return the inputs in which owners are looked up."""
        return frozenset().union(*(named_inputs(_owner(item)) for item in self._op.actions))

    def _input_key(self, index: int) -> InputKey:
        selections = self._selections(index)
        text = "\n".join(selection.text for selection in selections)
        if selections != [_WHOLE]:
            return InputKey(selector=text, content=bool(selections))
        # A local directory has no other identity than its content.
        return InputKey(content=is_local(self._vertex, index) or self._only_copied(index))

    def _only_copied(self, index: int) -> bool:
        return index not in self._naming() and all(item.input != index for item in self._op.actions)

    def origin(self, index: int) -> str:
        """Return what an input is called in messages."""
        if not 0 <= index < len(self._vertex.inputs):
            return "the files created by earlier actions"
        op = self._vertex.inputs[index].vertex.op
        if isinstance(op, Source):
            scheme, _, name = op.identifier.partition("://")
            return f"the local directory {name!r}" if scheme == "local" else op.identifier
        return "the source stage"


class _Chain:
    """One execution. States are numbered as the wire does: inputs, then results of actions."""

    def __init__(
        self,
        operation: FileOperation,
        inputs: Sequence[Filesystem],
        step: Step,
        token: Token,
        stack: ExitStack,
    ) -> None:
        self._operation, self._inputs = operation, inputs
        self._actions = operation._op.actions
        self._step, self._token, self._stack = step, token, stack
        self._active: dict[int, ActiveSnapshot] = {}
        self._committed: dict[int, Snapshot] = {}
        self._trees: dict[int, Tree] = {}
        self._last_use: dict[int, int] = {}
        for number, item in enumerate(self._actions):
            self._last_use |= {item.input: number, item.secondary_input: number}

    def run(self) -> list[Filesystem]:
        outputs: dict[int, int] = {}
        for number, item in enumerate(self._actions):
            self._token.check()
            index = len(self._inputs) + number
            self._active[index] = self._base(item.input, number)
            try:
                self._perform(item, WritableRoot(os.fspath(self._active[index].path)))
            except WorkerError as error:
                error.part = number
                raise
            except OSError as error:
                if is_about_storage(error):
                    raise
                failure = as_file_error(_title(item), error)
                failure.part = number
                raise failure from error
            if item.output >= 0:
                outputs[item.output] = index
        if sorted(outputs) != list(range(len(outputs))):
            raise WorkerError(
                f"file op with outputs {sorted(outputs)}", help="number outputs from 0 without gaps"
            )
        return [self._commit(outputs[output]) for output in range(len(outputs))]

    def _base(self, index: int, number: int) -> ActiveSnapshot:
        """Return a writable file system for action ``number`` that starts as state ``index``."""
        if index in self._active and not self._wanted_after(index, number):
            return self._active.pop(index)
        if index < 0:
            snapshot = SCRATCH
        elif index < len(self._inputs):
            snapshot = self._operation._views.unpacked(self._inputs[index], self._token, _Report(self._step))
        else:
            snapshot = self._commit(index)
        return self._stack.enter_context(self._operation._snapshotter.prepare(snapshot))

    def _wanted_after(self, index: int, number: int) -> bool:
        """Whether a state is an output, read by action ``number`` itself, or used by a later one."""
        own = self._actions[index - len(self._inputs)]
        return (
            own.output >= 0
            or self._actions[number].secondary_input == index
            or self._last_use.get(index, -1) > number
        )

    def _perform(self, item: FileAction, root: WritableRoot) -> None:
        action = item.action
        owner = owner_of(_owner(item), self._tree)
        match action:
            case Copy():
                origin = self._operation.origin(item.secondary_input)
                tree = self._tree(item.secondary_input) or self._view(SCRATCH)
                copy(tree, root, action, owner, self._token, origin=origin)
            case MkFile():
                make_file(root, action, owner)
            case MkDir():
                make_directory(root, action, owner)
            case Rm():
                remove(root, action)
            case Symlink():
                make_symlink(root, action, owner)
            case _:
                assert_never(action)

    def _tree(self, index: int) -> Tree | None:
        """Return a state for reading; None is scratch."""
        if index < 0:
            return None
        if index in self._active:
            return DirectoryTree(os.fspath(self._active[index].path))
        if index not in self._trees:
            state = self._inputs[index] if index < len(self._inputs) else self._committed[index]
            self._trees[index] = self._view(state)
        return self._trees[index]

    def _view(self, filesystem: Filesystem) -> Tree:
        shown = self._operation._views.tree(filesystem, self._token, _Report(self._step))
        return self._stack.enter_context(shown)

    def _commit(self, index: int) -> Snapshot:
        if index not in self._committed:
            self._committed[index] = self._active.pop(index).commit(self._step.name)
        return self._committed[index]


class _Report:
    """A step's sub-progress as a `llbkit.worker.base.StatusReport`."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __call__(self, identity: str, name: str, current: int, total: int, done: bool) -> None:
        self._step.status(identity, name, current, total, done=done)


async def key_of_local(value: Filesystem, hasher: ContentHasher, pools: Pools) -> ContentKey | None:
    """Return the digest of all of a local directory; None for others, which count by definition."""
    if by_kind(value, snapshot=lambda _: True, local=lambda _: False):
        return None
    return await pools.run("disk", lambda token: hasher.key(value, [_WHOLE], token))


def is_local(vertex: Vertex, index: int) -> bool:
    """Return whether an input is a local directory, which only its content identifies."""
    op = vertex.inputs[index].vertex.op
    return isinstance(op, Source) and op.identifier.startswith("local://")


def _owner(item: FileAction) -> Chown | None:
    return None if isinstance(item.action, Rm) else item.action.owner


def _title(item: FileAction) -> str:
    action = item.action
    match action:
        case Copy():
            return f"copy {action.src} {action.dest}"
        case MkFile() | MkDir():
            return f"{type(action).__name__.lower()} {action.path}"
        case Rm():
            return f"rm {action.path}"
        case Symlink():
            return f"symlink {action.newpath}"
        case _:
            assert_never(action)


def _described(item: FileAction) -> dict[str, Json]:
    """Return everything of an action that can change the result."""
    action = item.action
    out: dict[str, Json] = {"do": type(action).__name__.lower(), "input": item.input, "output": item.output}
    if isinstance(action, Copy):
        out["from"] = item.secondary_input
    for name in action.__slots__:
        value = getattr(action, name)
        if isinstance(value, bytes):
            out[name] = f"{len(value)} bytes, sha256:{hashlib.sha256(value).hexdigest()}"
        elif isinstance(value, Chown):
            out[name] = {"user": _who(value.user), "group": _who(value.group)}
        elif value not in (None, "", (), False):
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def _readable(action: dict[str, Json]) -> dict[str, Json]:
    mode = action.get("mode")
    return {**action, "mode": oct(mode)} if isinstance(mode, int) and mode >= 0 else action


def _who(user: UserOpt | None) -> Json:
    return {"name": user.name, "input": user.input} if isinstance(user, NamedUser) else user
