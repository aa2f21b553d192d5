# SPDX-License-Identifier: Apache-2.0
"""File actions as values, and the step that applies a chain of them: ``state.file(mkdir("/a"), copy(src, "x", "/a/"))``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, TypeAlias

from llbkit.llb.builder.arguments import expect, expect_all
from llbkit.llb.builder.nodes import Base, EdgeList, Output, VertexSpec, unique_outputs
from llbkit.llb.builder.options import Constraints
from llbkit.llb.errors import StateError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge
from llbkit.records import dataclass

if TYPE_CHECKING:
    from llbkit.llb.builder.state import State

_NUMBER = re.compile(r"[+-]?[0-9]+")

Owner: TypeAlias = str | tuple[int, int] | ops.Chown | None
"""``user[:group]`` by name or number, a pair of ids, or None for the default."""


@dataclass(frozen=True, slots=True, eq=False)
class ActionSpec:
    """One file action. ``source`` is what a copy reads: a state, or the end of another chain of actions."""

    action: ops.Action
    source: State | Chain | None = None
    owner: ops.Chown | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Actions applied to a state one after the other."""

    state: State
    actions: tuple[ActionSpec, ...] = field(repr=False)


def mkdir(
    path: str, mode: int = 0o755, *, parents: bool = False, owner: Owner = None, created: int = -1
) -> ActionSpec:
    """Create a directory. ``created`` is in nanoseconds since 1970, -1 is now.

    >>> from llbkit.llb import scratch
    >>> scratch().file(mkdir("/srv", owner="daemon")).graph().head.vertex.op.actions[0].action.owner.user
    NamedUser(name='daemon', input=-1)
    """
    expect("mkdir", "path", path, str)
    expect("mkdir", "mode", mode, int)
    return ActionSpec(
        ops.MkDir(path=path, mode=mode & 0o777, make_parents=parents, timestamp=created), owner=chown(owner)
    )


def mkfile(
    path: str, data: bytes | str, mode: int = 0o644, *, owner: Owner = None, created: int = -1
) -> ActionSpec:
    """Create or replace a file.

    >>> from llbkit.llb import scratch
    >>> scratch().file(mkfile("/run.sh", "#!/bin/sh", 0o755)).graph().head.vertex.op.actions[0].action.mode == 0o755
    True
    """
    expect("mkfile", "path", path, str)
    expect("mkfile", "data", data, bytes, str)
    expect("mkfile", "mode", mode, int)
    content = data.encode() if isinstance(data, str) else data
    return ActionSpec(
        ops.MkFile(path=path, mode=mode & 0o777, data=content, timestamp=created), owner=chown(owner)
    )


def rm(path: str, *, allow_not_found: bool = False, allow_wildcard: bool = False) -> ActionSpec:
    """Remove a path and all below it.

    >>> from llbkit.llb import scratch
    >>> scratch().mkdir("/tmp").file(rm("/tmp")).graph().head.vertex.op.actions[0].action.path
    '/tmp'
    """
    expect("rm", "path", path, str)
    return ActionSpec(ops.Rm(path=path, allow_not_found=allow_not_found, allow_wildcard=allow_wildcard))


def symlink(oldpath: str, newpath: str, *, owner: Owner = None, created: int = -1) -> ActionSpec:
    """Create ``newpath`` as a symbolic link to ``oldpath``.

    >>> from llbkit.llb import scratch
    >>> scratch().file(symlink("v2", "/current")).graph().head.vertex.op.actions[0].action.oldpath
    'v2'
    """
    expect("symlink", "oldpath", oldpath, str)
    expect("symlink", "newpath", newpath, str)
    return ActionSpec(ops.Symlink(oldpath=oldpath, newpath=newpath, timestamp=created), owner=chown(owner))


def copy(
    source: State | Chain,
    src: str,
    dest: str,
    *,
    mode: int | str | None = None,
    owner: Owner = None,
    created: int = -1,
    follow_symlinks: bool = False,
    dir_contents: bool = False,
    unpack: bool = False,
    create_dest_path: bool = False,
    wildcard: bool = False,
    empty_wildcard: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    required: Sequence[str] = (),
    replace_existing: bool = False,
) -> ActionSpec:
    """Copy ``src`` of ``source`` to ``dest``.

    ``mode`` is a number, or symbolic (``u+x``); ``dir_contents`` copies what is in a directory instead of it; ``unpack``
    unpacks archives; ``wildcard`` allows patterns in ``src``, ``empty_wildcard`` that none matches; ``include`` and
    ``exclude`` are patterns in the manner of ``.dockerignore``, ``required`` paths that must match;
    ``replace_existing`` lets a file take the place of a directory, and the other way round.

    >>> from llbkit.llb import image, scratch
    >>> taken = scratch().file(copy(image("alpine"), "/etc/os-release", "/", mode="u=rw,go=r"))
    >>> taken.graph().head.vertex.op.actions[0].action.mode_str
    'u=rw,go=r'
    """
    expect("copy", "src", src, str)
    expect("copy", "dest", dest, str)
    expect("copy", "mode", mode, int, str, type(None))
    for name, patterns in (("include", include), ("exclude", exclude), ("required", required)):
        expect_all("copy", name, patterns, str)
    number = -1 if mode is None else mode if isinstance(mode, int) else 0
    action = ops.Copy(
        src=src,
        dest=dest,
        mode=number,
        mode_str=mode if isinstance(mode, str) else "",
        follow_symlink=follow_symlinks,
        dir_copy_contents=dir_contents,
        attempt_unpack=unpack,
        create_dest_path=create_dest_path,
        allow_wildcard=wildcard,
        allow_empty_wildcard=empty_wildcard,
        timestamp=created,
        include_patterns=tuple(include),
        exclude_patterns=tuple(exclude),
        always_replace_existing_dest_paths=replace_existing,
        required_paths=tuple(required),
    )
    return ActionSpec(action, source=source, owner=chown(owner))


def chown(owner: Owner) -> ops.Chown | None:
    """Return an owner in wire form; names keep their place for the input that they are looked up in."""
    match owner:
        case None | ops.Chown():
            return owner
        case (uid, gid):
            return ops.Chown(user=uid, group=gid)
        case str():
            user, colon, group = owner.partition(":")
            return ops.Chown(user=_user(user), group=_user(group) if colon else None)
        case _:
            raise TypeError(f"owner must be user[:group], a pair of ids or None, not {owner!r}")


def _user(text: str) -> ops.UserOpt:
    if text in ("", "root"):
        return 0
    # As Go's 32-bit strconv.ParseInt: larger numbers are names, and a negative one is that of its two's complement.
    if _NUMBER.fullmatch(text) and -(1 << 31) <= (number := int(text)) < 1 << 31:
        return number & 0xFFFFFFFF
    return ops.NamedUser(name=text)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileNode:
    """A chain of file actions on a state."""

    chain: Chain
    constraints: Constraints

    @property
    def fixed_platform(self) -> None:
        """Files are of no platform."""

    def reads(self, base: Base) -> Sequence[Output]:
        """Return what the actions read, the last action's first, as BuildKit's client visits them."""
        out: list[Output] = []
        pending = [(self.chain, spec) for spec in self.chain.actions]
        while pending:
            chain, spec = pending.pop()
            if chain.state.output is not None:
                out.append(chain.state.output)
            if isinstance(spec.source, Chain):
                pending += [(spec.source, below) for below in spec.source.actions]
            elif spec.source is not None and spec.source.output is not None:
                out.append(spec.source.output)
        return unique_outputs(out)

    def index_of(self, slot: int | str) -> int:
        """A chain has one output."""
        return 0

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return the file op."""
        build = _Numbering(base, EdgeList(edge))
        build.chain(self.chain)
        count = len(build.inputs.edges)
        last = len(build.actions) - 1
        actions = tuple(
            ops.FileAction(
                action=item.action,
                input=item.first.resolve(count),
                secondary_input=item.second.resolve(count),
                output=0 if number == last else -1,
            )
            for number, item in enumerate(build.actions)
        )
        return VertexSpec(op=ops.File(actions=actions), inputs=tuple(build.inputs.edges), caps=("file.base",))


@dataclass(frozen=True, slots=True)
class _Place:
    """An action's input: an op input, the result of another action, or scratch."""

    number: int = -1
    of_action: bool = False

    def resolve(self, inputs: int) -> int:
        return inputs + self.number if self.of_action else self.number


@dataclass(frozen=True, slots=True)
class _Numbered:
    action: ops.Action
    first: _Place
    second: _Place


@dataclass(slots=True)
class _Progress:
    """How far the numbering of a chain has come: the results of its actions, and whether a chain below is awaited."""

    chain: Chain
    base: _Place | None = None
    done: list[_Place] = field(default_factory=list)
    waits: bool = False


class _Numbering:
    """Numbers the inputs and actions of a chain, those of chains that it copies from included."""

    def __init__(self, base: Base, inputs: EdgeList) -> None:
        self._base = base
        self.inputs = inputs
        self.actions: list[_Numbered] = []

    def chain(self, chain: Chain) -> None:
        """Add a chain's actions, each behind those of the chain that it copies from, however deep these are nested."""
        stack = [_Progress(chain)]
        result = _Place()
        while stack:
            top = stack[-1]
            if not top.chain.actions:
                raise StateError("action is required")
            if len(top.done) == len(top.chain.actions):
                stack.pop()
                result = top.done[-1]
                continue
            spec = top.chain.actions[len(top.done)]
            if top.base is None:
                top.base = self._output(top.chain.state)
            if isinstance(spec.source, Chain) and not top.waits:
                top.waits = True
                stack.append(_Progress(spec.source))
                continue
            second = result if top.waits else self._output(spec.source)
            action = _placed(spec, self._folder(top.chain), self._folder(spec.source), top.base.number)
            self.actions.append(_Numbered(action, top.done[-1] if top.done else top.base, second))
            top.done.append(_Place(len(self.actions) - 1, of_action=True))
            top.waits = False

    def _output(self, state: State | Chain | None) -> _Place:
        output = None if state is None or isinstance(state, Chain) else state.output
        return _Place(self.inputs.add(output)) if output is not None else _Place()

    def _folder(self, source: State | Chain | None) -> str:
        if source is None:
            return "/"
        state = source.state if isinstance(source, Chain) else source
        return state.settings.at(self._base.platform).dir


def _placed(spec: ActionSpec, folder: str, source_folder: str, base: int) -> ops.Action:
    """Return the action with absolute paths and with owners looked up in the base."""
    owner = _owned(spec.owner, base)
    match spec.action:
        case ops.Copy() as action:
            src = posixpath.normpath(action.src) if action.src else "."
            return replace(
                action,
                src=_clean(posixpath.join("/", source_folder, src)),
                dest=_absolute(folder, action.dest, keep_slash=True),
                owner=owner,
            )
        case ops.MkDir() | ops.MkFile() as action:
            return replace(action, path=_absolute(folder, action.path), owner=owner)
        case ops.Rm() as action:
            return replace(action, path=_absolute(folder, action.path))
        case ops.Symlink() as action:
            return replace(action, owner=owner)


def _owned(owner: ops.Chown | None, base: int) -> ops.Chown | None:
    if owner is None:
        return None

    def at_base(user: ops.UserOpt | None) -> ops.UserOpt | None:
        return replace(user, input=base) if isinstance(user, ops.NamedUser) else user

    return ops.Chown(user=at_base(owner.user), group=at_base(owner.group))


def _clean(path: str) -> str:
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/") if clean.startswith("/") else clean


def _absolute(folder: str, path: str, *, keep_slash: bool = False) -> str:
    clean = _clean(posixpath.join("/", folder, path))
    if keep_slash and path.endswith("/") and not clean.endswith("/"):
        return clean + "/"
    if keep_slash and path.endswith("/."):
        return ("/" if clean == "/" else clean + "/") + "."
    return clean
