# SPDX-License-Identifier: Apache-2.0
"""Read the lines of ``file`` statements as file actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.ir import ops
from llbkit.llb.text.fields import heads_of, made
from llbkit.llb.text.inputs import Inputs
from llbkit.llb.text.parts import Statement, content, value_of
from llbkit.records import dataclass


def file_actions(statement: Statement, lines: Sequence[Any], inputs: Inputs) -> tuple[ops.FileAction, ...]:
    """Return the actions of a ``file`` statement."""
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
                raise statement.fault(leaf, "llb-name", f"{leaf.text} is not an earlier action")
        output = (0 if number == len(drafts) - 1 else -1) if draft.output is None else draft.output
        actions.append(
            made(ops.FileAction, {**draft.own, **places, "action": draft.action, "output": output})
        )
    return tuple(actions)


@dataclass(slots=True)
class _Draft:
    action: ops.Action
    places: dict[str, int]
    leaves: dict[str, Leaf]
    output: int | None
    own: dict[str, Any]


_PLACES: tuple[str, ...] = ("input", "secondary_input")
_KINDS = {name: kind for kind, (_, name, *_rest) in ops.ACTIONS.members.items()}


def _action(statement: Statement, line: Branch, inputs: Inputs) -> _Draft:
    kind = _KINDS[line.rule]
    heads = [field.name for field in heads_of(kind)]
    leaves: dict[str, Leaf] = {}
    owners: dict[str, tuple[Leaf, ...]] = {}
    output: int | None = None
    parts = list(line.parts)
    if line.rule == "copy":
        leaves["secondary_input"] = parts.pop(0)
    words = [statement.word(parts.pop(0)) for _ in heads]
    for part in parts:
        match part:
            case Branch("on", (Leaf() as leaf,)):
                leaves["input"] = leaf
            case Branch("beside", (Leaf() as leaf,)):
                if line.rule == "copy":
                    raise statement.fault(leaf, "llb-option", 'a copy takes its source tree with "from"')
                leaves["secondary_input"] = leaf
            case Branch("owner_user" | "owner_group" | "no_owner" as rule, who):
                if line.rule == "rm":
                    raise statement.fault(line.parts[0], "llb-option", "rm takes no owner")
                owners[rule] = who
            case Branch("output", (Leaf() as leaf,)):
                output = int(leaf.text)
    places: dict[str, int] = {key: _place(leaves[key], inputs) for key in _PLACES if key in leaves}
    given, own = _fields(statement, kind, parts)
    if owners:
        users = {
            rule: _user(owners[rule], inputs, statement)
            for rule in ("owner_user", "owner_group")
            if rule in owners
        }
        given["owner"] = ops.Chown(user=users.get("owner_user"), group=users.get("owner_group"))
    action: ops.Action = made(kind, {**given, **dict(zip(heads, words, strict=True))})
    return _Draft(action, places, leaves, output, own)


def _place(leaf: Leaf, inputs: Inputs) -> int:
    word, _, number = leaf.text.partition(" ")
    return -2 - int(number) if word == "action" else inputs.of(leaf)


def _fields(statement: Statement, kind: type, parts: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of an action, and those of the step around it, that options and lines of content give."""
    data: bytes | None = None
    if kind is ops.MkFile:
        data = content(statement, parts)
        for part in parts:
            if isinstance(part, Leaf) and part.kind == "PAIR" and part.text.startswith("text="):
                data += statement.word(value_of(part)).encode()
                parts = [other for other in parts if other is not part]
    given, own = statement.options(parts, kind, ops.FileAction)
    if data is not None:
        given["data"] = data
    if given.get("mode_str") and kind is ops.Copy:
        given.setdefault("mode", 0)
    return given, own


def _user(who: tuple[Leaf, ...], inputs: Inputs, statement: Statement) -> ops.UserOpt:
    if len(who) == 1:
        return int(who[0].text)
    return ops.NamedUser(name=statement.word(who[0]), input=inputs.of(who[1]))
