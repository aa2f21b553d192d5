# SPDX-License-Identifier: Apache-2.0
"""Build vertices from statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Vertex
from llbkit.llb.text.actions import file_actions
from llbkit.llb.text.fields import heads_of, lines_of, made
from llbkit.llb.text.inputs import Inputs, Names
from llbkit.llb.text.lines import FieldLines
from llbkit.llb.text.parts import Statement, content

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
_ACTIONS = frozenset(name for _, name, *_rest in ops.ACTIONS.members.values())


def _lines_of(rule: str) -> frozenset[str]:
    """Return the words that lines of a kind of op may begin with."""
    known = {"raw": frozenset({"base64"}), "file": _ACTIONS, "exec": _keywords(ops.Meta)}.get(
        rule, frozenset()
    )
    kind = next((kind for kind, (_, name, *_rest) in ops.OPS.members.items() if name == rule), None)
    return known | (_keywords(kind) | {"with"} if kind is not None else frozenset())


def _keywords(kind: type) -> frozenset[str]:
    return frozenset(keyword for keyword, _ in lines_of(kind))


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
                known = _lines_of(body.rule) | _WORDS
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
    also = {field.name for field in heads_of(ops.Platform)} - names.keys()
    (given,) = statement.options(options, ops.Platform, also=also)
    return statement.made(text, ops.Platform, {**names, **given})


def _source(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    identifier, *rest = lines
    (own,) = _fields(statement, rest, inputs, ops.Source)
    return made(ops.Source, {**own, "identifier": statement.word(identifier)})


def _exec(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    words, *rest = lines
    meta, own = _fields(statement, rest, inputs, ops.Meta, ops.Exec)
    meta["args"] = tuple(map(statement.word, words.parts))
    return made(ops.Exec, {"mounts": (), **own, "meta": made(ops.Meta, meta)})


def _fields(statement: Statement, lines: Sequence[Any], inputs: Inputs, *kinds: type) -> list[dict[str, Any]]:
    """Return the fields of op classes that lines give."""
    found = FieldLines(statement, inputs, *kinds)
    for line in lines:
        found.take(line)
    return found.fields()


def _merge(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    places, *rest = lines
    (own,) = _fields(statement, rest, inputs, ops.Merge)
    return made(ops.Merge, {**own, "inputs": tuple(map(inputs.of, places.parts))})


def _diff(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    lower, upper, *rest = lines
    (own,) = _fields(statement, rest, inputs, ops.Diff)
    own["lower"] = inputs.of(lower)
    return made(ops.Diff, {**own, "upper": inputs.of(upper)})


def _file(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    (own,) = _fields(statement, [line for line in lines if line.rule == "with"], inputs, ops.File)
    actions = file_actions(statement, [line for line in lines if line.rule != "with"], inputs)
    return made(ops.File, {**own, "actions": actions})


def _build(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    (own,) = _fields(statement, lines, inputs, ops.Build)
    return made(ops.Build, own)


def _passthrough(statement: Statement, name: Leaf, lines: Sequence[Any], inputs: Inputs) -> ops.Op:
    identity, outputs, after, *rest = lines
    numbers = tuple(map(inputs.of, outputs.parts))
    for place in after.parts:
        inputs.of(place)
    (own,) = _fields(statement, rest, inputs, ops.Passthrough)
    return made(ops.Passthrough, {**own, "id": statement.word(identity), "outputs": numbers})


_OPS: Mapping[str, Callable[[Statement, Leaf, Sequence[Any], Inputs], ops.Op]] = {
    "source": _source,
    "exec": _exec,
    "file": _file,
    "merge": _merge,
    "diff": _diff,
    "build": _build,
    "passthrough": _passthrough,
}
