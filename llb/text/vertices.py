# SPDX-License-Identifier: Apache-2.0
"""Statements to vertices: the ops that their lines describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grammar import DiagnosticError, Related, Span, nearest
from grammar.lift import Branch, Leaf
from llb import ops
from llb.errors import DefinitionError
from llb.graph import Edge, Vertex
from llb.text.fields import made
from llb.text.parts import Statement, content, value_of
from llb.text.printer import output_of_none

_SIDE = frozenset(
    [
        "inputs",
        "platform",
        "require",
        "unconstrained",
        "name",
        "describe",
        "caps",
        "ignore",
        "export",
        "progress",
        "limits",
        "later",
        "nothing",
        "at",
    ]
)
_WORDS = {"ignore-cache", "export-cache", "group", "unknown", "metadata"} | _SIDE - {
    *("ignore", "export", "progress", "later", "nothing")
}
_LINES: Mapping[str, frozenset[str]] = {
    "source": frozenset({"attr"}),
    "exec": frozenset(["cwd", "user", "env", "host", "ulimit", "with", "mount", "secret-env", "device"]),
    "file": frozenset({"copy", "mkfile", "mkdir", "rm", "symlink"}),
    "build": frozenset({"builder", "input", "attr", "definition"}),
    "raw": frozenset({"base64"}),
}


@dataclass(slots=True)
class Names:
    """The vertices that statements have named so far."""

    _known: dict[str, Vertex] = field(default_factory=dict)
    _first: dict[str, Span] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def add(self, statement: Statement, name: Leaf, vertex: Vertex) -> None:
        """Give a vertex its name.

        Raises:
            DiagnosticError: another one has it.
        """
        if name.text in self._known:
            first = (Related("it is given first here", self._first[name.text]),)
            raise statement.fault(name, "llb-name", f"the name {name.text} is given twice", related=first)
        self._known[name.text] = vertex
        self._first[name.text] = statement.span(name)

    def lost(self, name: str) -> None:
        """Remember a vertex that could not be read, so that those who use it are not reported as well."""
        self._lost.add(name)

    def edge(self, statement: Statement, place: Leaf) -> Edge | None:
        """Return the edge that ``%name`` or ``%name.index`` means; None for scratch.

        Raises:
            DiagnosticError: there is no such vertex before this place. It is empty if the vertex was lost.
        """
        if place.text == "scratch":
            return None
        name, _, index = place.text.partition(".")
        if name in self._known:
            return Edge(self._known[name], int(index or 0))
        if name in self._lost:
            raise DiagnosticError(())
        if not name.startswith("%"):
            raise statement.fault(place, "llb-name", f"{place.text} means nothing here")
        close = nearest(name, self._known)
        hint = f"did you mean {close}?" if close else "a vertex stands before those that use it"
        raise statement.fault(place, "llb-name", f"there is no vertex {name} before this line", hint)


@dataclass(slots=True)
class _Inputs:
    """The inputs of one vertex: as listed, or in the order in which its lines name them."""

    statement: Statement
    names: Names
    edges: list[Edge] = field(default_factory=list)
    listed: bool = False
    actions: int = -1
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def list(self, places: Sequence[Leaf]) -> None:
        self.listed = True
        for place in places:
            edge = self.names.edge(self.statement, place)
            if edge is None:
                raise self.statement.fault(place, "llb-name", "scratch is no input")
            self._numbers.setdefault((edge.vertex.digest, edge.index), len(self.edges))
            self.edges.append(edge)

    def of(self, place: Leaf) -> int:
        kind, _, number = place.text.partition(" ")
        if kind == "input":
            if not self.listed or int(number) >= len(self.edges):
                raise self.statement.fault(place, "llb-name", f"there is no {place.text}")
            return int(number)
        edge = self.names.edge(self.statement, place)
        if edge is None:
            return -1
        key = (edge.vertex.digest, edge.index)
        if key not in self._numbers:
            if self.listed:
                raise self.statement.fault(place, "llb-name", f"{place.text} is not among the inputs")
            self._numbers[key] = len(self.edges)
            self.edges.append(edge)
        return self._numbers[key]


def vertex_of(statement: Statement, name: Leaf, body: Branch, names: Names) -> Vertex:
    """Return the vertex that a statement describes.

    Raises:
        DiagnosticError: a line has no meaning, or names what is not there.
    """
    inputs = _Inputs(statement, names)
    platform: ops.Platform | None = None
    constraints: tuple[str, ...] | None = ()
    lines: list[Any] = []
    for part in body.parts:
        match part:
            case Branch("inputs", places):
                inputs.list(places)
            case Branch("platform", (Leaf() as text, *options)):
                platform = _platform(statement, text, options)
            case Branch("require", (Leaf() as text,)):
                constraints = (*(constraints or ()), statement.word(text))
            case Branch("unconstrained"):
                constraints = None
            case Branch("stray"):
                known = _LINES.get(body.rule, frozenset()) | _WORDS
                raise statement.stray(part, f"line of {body.rule!r}", known)
            case Branch(rule) if rule in _SIDE:
                pass
            case _:
                lines.append(part)
    try:
        if body.rule == "raw":
            from llb.wire.decoding import decode_vertex

            return decode_vertex(content(statement, lines), inputs.edges)
        op = _OPS[body.rule](statement, name, lines, inputs)
        return Vertex.make(op, tuple(inputs.edges), platform=platform, constraints=constraints)
    except DefinitionError as error:
        hint = "raw bytes name their inputs by digest: if one of them was changed, write the op in words"
        raise statement.fault(name, "llb-raw", str(error), hint) from None
    except (ValueError, TypeError) as error:  # protobuf: a number is out of range
        raise statement.fault(name, "llb-value", f"it cannot be encoded: {error}") from None


def _platform(statement: Statement, text: Leaf, options: Sequence[object]) -> ops.Platform:
    said = statement.word(text)
    names = dict(zip(("os", "architecture", "variant"), said.split("/"), strict=False)) if said else {}
    if said and (said.count("/") not in (1, 2) or not all(names.values())):
        raise statement.fault(
            text, "llb-value", f"{said!r} is no platform", "write os/architecture[/variant]"
        )
    (given,) = statement.options(options, ops.Platform, without=names)
    return statement.made(text, ops.Platform, {**names, **given})


def _source(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    identifier, *rest = lines
    return ops.Source(identifier=statement.word(identifier), attrs=_attrs(statement, rest))


def _attrs(statement: Statement, lines: Sequence[Any]) -> dict[str, str]:
    out = {}
    for part in lines:
        if part.rule == "attr":
            key, value = map(statement.word, part.parts)
            if key in out:
                raise statement.fault(part.parts[0], "llb-option", f"attr {key} is given twice")
            out[key] = value
    return out


def _exec(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    words, *rest = lines
    many: dict[str, list[Any]] = {
        key: [] for key in ("env", "host", "ulimit", "mount", "secret_env", "device")
    }
    options: list[Any] = []
    single: dict[str, str] = {}
    word = statement.word
    for part in rest:
        match part:
            case Branch("cwd" | "user" as key, (Leaf() as text,)):
                if key in single:
                    raise statement.fault(text, "llb-option", f"{key} is given twice")
                single[key] = word(text)
            case Branch("env", (Leaf() as text,)):
                many["env"].append(word(text))
            case Branch("host", (Leaf() as host, Leaf() as ip)):
                many["host"].append(ops.HostIP(host=word(host), ip=word(ip)))
            case Branch("ulimit", (Leaf() as limit, Leaf() as soft, Leaf() as hard)):
                many["ulimit"].append(ops.Ulimit(name=word(limit), soft=int(soft.text), hard=int(hard.text)))
            case Branch("with", parts):
                options += parts
            case Branch("mount", (Leaf() as dest, *parts)):
                many["mount"].append(_mount(statement, dest, parts, inputs))
            case Branch("secret_env", (Leaf() as variable, *parts)):
                (given,) = statement.options(parts, ops.SecretEnv, without=("name",))
                given["name"] = word(variable)
                many["secret_env"].append(statement.made(variable, ops.SecretEnv, given))
            case Branch("device", (Leaf() as device, *parts)):
                (given,) = statement.options(parts, ops.CDIDevice, without=("name",))
                many["device"].append(ops.CDIDevice(name=word(device), **given))
    without = (
        "args",
        "env",
        "cwd",
        "user",
        "extra_hosts",
        "ulimit",
        "meta",
        "mounts",
        "secret_env",
        "cdi_devices",
    )
    meta, own = statement.options(options, ops.Meta, ops.Exec, without=without)
    return ops.Exec(
        meta=made(
            ops.Meta,
            {
                **meta,
                **single,
                "args": tuple(map(word, words.parts)),
                "env": tuple(many["env"]),
                "extra_hosts": tuple(many["host"]),
                "ulimit": tuple(many["ulimit"]),
            },
        ),
        mounts=tuple(many["mount"]),
        secret_env=tuple(many["secret_env"]),
        cdi_devices=tuple(many["device"]),
        **own,
    )


_MOUNT_OPTIONS: Mapping[ops.MountType, type] = {
    ops.MountType.CACHE: ops.CacheOpt,
    ops.MountType.SECRET: ops.SecretOpt,
    ops.MountType.SSH: ops.SSHOpt,
    ops.MountType.TMPFS: ops.TmpfsOpt,
}


def _mount(statement: Statement, dest: Leaf, parts: Sequence[Any], inputs: _Inputs) -> ops.Mount:
    kind = ops.MountType.BIND
    place: int | None = None
    output: int | None = None
    for part in parts:
        match part:
            case Leaf("KIND", text):
                kind = ops.MountType[text.upper()]
            case Branch("from", (Leaf() as leaf,)):
                place = inputs.of(leaf)
            case Branch("output", (Leaf() as leaf,)):
                output = int(leaf.text)
    if kind is ops.MountType.BIND and place is None:
        raise statement.fault(
            dest, "llb-option", "a bind mount has no source", "add from %NAME, or from scratch"
        )
    option = kind.name.lower()
    without = ("dest", "input", "output", "mount_type", option)
    given: dict[str, Any]
    if kind is ops.MountType.BIND:
        (given,) = statement.options(parts, ops.Mount, without=without)
    else:
        own, given = statement.options(parts, _MOUNT_OPTIONS[kind], ops.Mount, without=without)
        if own:
            given[option] = statement.made(dest, _MOUNT_OPTIONS[kind], own)
    return ops.Mount(
        dest=statement.word(dest),
        input=-1 if place is None else place,
        output=output_of_none(kind) if output is None else output,
        mount_type=kind,
        **given,
    )


def _file(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    # Results of actions are numbered behind the inputs, whose number is known at the end only: until then they are -2, -3, ...
    drafts = [_action(statement, part, inputs) for part in lines]
    count = len(inputs.edges)
    actions = []
    for number, draft in enumerate(drafts):
        places: dict[str, int] = {}
        before = count + number - 1 if number else -1
        for key, usual in (("input", before), ("secondary_input", -1)):
            place = draft.places.get(key, usual)
            places[key] = count - place - 2 if place < -1 else place
            if places[key] >= count + number:
                leaf = draft.leaves[key]
                raise statement.fault(leaf, "llb-name", f"{leaf.text} does not come before this one")
        output = (0 if number == len(drafts) - 1 else -1) if draft.output is None else draft.output
        actions.append(ops.FileAction(action=draft.action, output=output, **places))
    return ops.File(actions=tuple(actions))


@dataclass(slots=True)
class _Draft:
    action: ops.Action
    places: dict[str, int]
    leaves: dict[str, Leaf]
    output: int | None


_PLACES: tuple[str, ...] = ("input", "secondary_input")
_ACTIONS: Mapping[str, tuple[Callable[..., ops.Action], tuple[str, ...]]] = {
    "copy": (ops.Copy, ("src", "dest")),
    "mkfile": (ops.MkFile, ("path",)),
    "mkdir": (ops.MkDir, ("path",)),
    "rm": (ops.Rm, ("path",)),
    "symlink": (ops.Symlink, ("newpath", "oldpath")),
}


def _action(statement: Statement, line: Branch, inputs: _Inputs) -> _Draft:
    kind, positional = _ACTIONS[line.rule]
    assert isinstance(kind, type)
    leaves: dict[str, Leaf] = {}
    owners: dict[str, tuple[Leaf, ...]] = {}
    output: int | None = None
    parts = list(line.parts)
    if line.rule == "copy":
        leaves["secondary_input"] = parts.pop(0)
    words = [statement.word(parts.pop(0)) for _ in positional]
    for part in parts:
        match part:
            case Branch("on", (Leaf() as leaf,)):
                leaves["input"] = leaf
            case Branch("beside", (Leaf() as leaf,)):
                if line.rule == "copy":
                    raise statement.fault(leaf, "llb-option", "a copy names what it reads with from")
                leaves["secondary_input"] = leaf
            case Branch("owner_user" | "owner_group" | "no_owner" as rule, who):
                if line.rule == "rm":
                    raise statement.fault(line.parts[0], "llb-option", "rm has no owner")
                owners[rule] = who
            case Branch("output", (Leaf() as leaf,)):
                output = int(leaf.text)
    places: dict[str, int] = {key: _place(leaves[key], inputs) for key in _PLACES if key in leaves}
    given = _fields(statement, kind, parts, positional)
    if owners:
        users = {
            rule: _user(owners[rule], inputs, statement)
            for rule in ("owner_user", "owner_group")
            if rule in owners
        }
        given["owner"] = ops.Chown(user=users.get("owner_user"), group=users.get("owner_group"))
    return _Draft(made(kind, {**given, **dict(zip(positional, words, strict=True))}), places, leaves, output)


def _place(leaf: Leaf, inputs: _Inputs) -> int:
    word, _, number = leaf.text.partition(" ")
    return -2 - int(number) if word == "action" else inputs.of(leaf)


def _fields(
    statement: Statement, kind: type, parts: Sequence[Any], positional: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields that options and lines of content give."""
    data: bytes | None = None
    if kind is ops.MkFile:
        data = content(statement, parts)
        for part in parts:
            if isinstance(part, Leaf) and part.kind == "PAIR" and part.text.startswith("text="):
                data += statement.word(value_of(part)).encode()
                parts = [other for other in parts if other is not part]
    (given,) = statement.options(parts, kind, without=(*positional, "owner", "data"))
    if data is not None:
        given["data"] = data
    if given.get("mode_str") and kind is ops.Copy:
        given.setdefault("mode", 0)
    return dict(given)


def _user(who: tuple[Leaf, ...], inputs: _Inputs, statement: Statement) -> ops.UserOpt:
    if len(who) == 1:
        return int(who[0].text)
    return ops.NamedUser(name=statement.word(who[0]), input=inputs.of(who[1]))


def _merge(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    return ops.Merge(inputs=tuple(map(inputs.of, lines[0].parts)))


def _diff(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    lower = inputs.of(lines[0])
    return ops.Diff(lower=lower, upper=inputs.of(lines[1]))


def _build(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    builder, named, definition = -1, {}, None
    for part in lines:
        match part:
            case Branch("builder", (Leaf() as place,)):
                builder = inputs.of(place)
            case Branch("input", (Leaf() as text, Leaf() as place)):
                named[statement.word(text)] = inputs.of(place)
            case Branch("definition", parts):
                definition = content(statement, parts)
    return ops.Build(builder=builder, inputs=named, definition=definition, attrs=_attrs(statement, lines))


def _passthrough(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: _Inputs) -> ops.Op:
    identity, outputs, after, *_ = lines
    numbers = tuple(map(inputs.of, outputs.parts))
    for place in after.parts:
        inputs.of(place)
    return ops.Passthrough(id=statement.word(identity), outputs=numbers)


_OPS: Mapping[str, Callable[[Statement, Leaf, Sequence[Any], _Inputs], ops.Op]] = {
    "source": _source,
    "exec": _exec,
    "file": _file,
    "merge": _merge,
    "diff": _diff,
    "build": _build,
    "passthrough": _passthrough,
}
