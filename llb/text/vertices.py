# SPDX-License-Identifier: Apache-2.0
"""Build vertices from statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Vertex
from llbkit.llb.text.actions import file_op
from llbkit.llb.text.fields import made
from llbkit.llb.text.inputs import Inputs, Names
from llbkit.llb.text.parts import Statement, content
from llbkit.llb.text.printer import output_of_none

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


def vertex_of(statement: Statement, name: Leaf, body: Branch, names: Names) -> Vertex:
    """Return the vertex that a statement describes.

    Raises:
        DiagnosticError: a line has no meaning, or refers to something that does not exist.
    """
    inputs = Inputs(statement, names)
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
                raise statement.unknown_word(part, f"line of {body.rule!r}", known)
            case Branch(rule) if rule in _SIDE:
                pass
            case _:
                lines.append(part)
    if body.rule == "raw":
        from llbkit.llb.wire.decoding import decode_vertex

        try:
            return decode_vertex(content(statement, lines), inputs.edges)
        except DefinitionError as error:
            hint = "raw bytes refer to their inputs by digest: if an input was changed, write the op out"
            raise statement.fault(name, "llb-raw", str(error), hint) from None
    try:
        op = _OPS[body.rule](statement, name, lines, inputs)
        return Vertex.make(op, tuple(inputs.edges), platform=platform, constraints=constraints)
    except (DefinitionError, ValueError, TypeError) as error:  # a number is out of range
        raise statement.fault(name, "llb-value", f"cannot encode the op: {error}") from None


def _platform(statement: Statement, text: Leaf, options: Sequence[object]) -> ops.Platform:
    said = statement.word(text)
    names = dict(zip(("os", "architecture", "variant"), said.split("/"), strict=False)) if said else {}
    if said and (said.count("/") not in (1, 2) or not all(names.values())):
        raise statement.fault(
            text, "llb-value", f"invalid platform {said!r}", "write os/architecture[/variant]"
        )
    (given,) = statement.options(options, ops.Platform, without=names)
    return statement.made(text, ops.Platform, {**names, **given})


def _source(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    identifier, *rest = lines
    return ops.Source(identifier=statement.word(identifier), attrs=_attrs(statement, rest))


def _attrs(statement: Statement, lines: Sequence[Any]) -> dict[str, str]:
    out = {}
    for part in lines:
        if part.rule == "attr":
            key, value = map(statement.word, part.parts)
            if key in out:
                raise statement.fault(part.parts[0], "llb-option", f"duplicate attr {key}")
            out[key] = value
    return out


def _exec(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
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
                    raise statement.fault(text, "llb-option", f"duplicate {key}")
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


def _mount(statement: Statement, dest: Leaf, parts: Sequence[Any], inputs: Inputs) -> ops.Mount:
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
            dest, "llb-option", "bind mount without a source", "add from %NAME, or from scratch"
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


def _merge(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    return ops.Merge(inputs=tuple(map(inputs.of, lines[0].parts)))


def _diff(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    lower = inputs.of(lines[0])
    return ops.Diff(lower=lower, upper=inputs.of(lines[1]))


def _build(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
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


def _passthrough(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    identity, outputs, after, *_ = lines
    numbers = tuple(map(inputs.of, outputs.parts))
    for place in after.parts:
        inputs.of(place)
    return ops.Passthrough(id=statement.word(identity), outputs=numbers)


_OPS: Mapping[str, Callable[[Statement, Leaf, Sequence[Any], Inputs], ops.Op]] = {
    "source": _source,
    "exec": _exec,
    "file": file_op,
    "merge": _merge,
    "diff": _diff,
    "build": _build,
    "passthrough": _passthrough,
}
