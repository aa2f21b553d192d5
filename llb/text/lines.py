# SPDX-License-Identifier: Apache-2.0
"""Read the lines that fields of ops have for themselves, by what the fields declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.ir import ops
from llbkit.llb.ir.fields import Declared
from llbkit.llb.text.fields import heads_of, lines_of
from llbkit.llb.text.inputs import Inputs
from llbkit.llb.text.mounts import read_mount
from llbkit.llb.text.parts import Statement, content

_Read: TypeAlias = Callable[[Statement, Leaf, Sequence[Any], Inputs], Any]
_SPOKEN: Mapping[type, _Read] = {ops.Mount: read_mount}
"""What has words of its own kind behind the first."""


class FieldLines:
    """The fields of some op classes that the lines of a statement give."""

    def __init__(self, statement: Statement, inputs: Inputs, *kinds: type) -> None:
        self._statement = statement
        self._inputs = inputs
        self._given: dict[type, dict[str, Any]] = {kind: {} for kind in kinds}
        self._options: list[Any] = []
        # A rule of the grammar has the keyword's name.
        self._fields = {
            keyword.replace("-", "_"): (kind, keyword, field)
            for kind in kinds
            for keyword, field in lines_of(kind)
        }

    def take(self, part: Branch) -> None:
        """Take a line.

        Raises:
            DiagnosticError: it gives twice what there is once, or refers to nothing.
        """
        if part.rule == "with":
            self._options += part.parts
        elif part.rule in self._fields:
            kind, keyword, field = self._fields[part.rule]
            self._take(self._given[kind], keyword, field, part.parts)

    def fields(self) -> list[dict[str, Any]]:
        """Return the fields of each class, those that stand in ``with`` lines among them."""
        options = self._statement.options(self._options, *self._given)
        return [{**one, **given} for one, given in zip(options, self._given.values(), strict=True)]

    def _take(self, given: dict[str, Any], keyword: str, field: Declared, parts: Sequence[Any]) -> None:
        name = field.name
        if field.many:
            given[name] = (*given.get(name, ()), self._value(field, parts))
        elif field.mapping:
            key, *rest = parts
            known = given.setdefault(name, {})
            said = self._statement.word(key)
            if said in known:
                raise self._statement.fault(key, "llb-option", f"duplicate {keyword} {said}")
            known[said] = self._value(field, rest)
        elif name in given:
            raise self._statement.fault(_first_leaf(parts), "llb-option", f"duplicate {keyword}")
        else:
            given[name] = self._value(field, parts)

    def _value(self, field: Declared, parts: Sequence[Any]) -> Any:
        statement = self._statement
        if field.wire is not None and field.wire.embeds:
            return content(statement, parts)
        first, *rest = parts
        if field.number:
            return self._inputs.of(first)
        if field.kind is str:
            return statement.word(first)
        if field.kind in _SPOKEN:
            return _SPOKEN[field.kind](statement, first, rest, self._inputs)
        heads = heads_of(field.kind)
        given = {
            head.name: statement.word(leaf) if head.kind is str else statement.number(leaf)
            for head, leaf in zip(heads, parts, strict=False)
        }
        (options,) = statement.options(parts[len(heads) :], field.kind)
        return statement.made(first, field.kind, {**options, **given})


def _first_leaf(parts: Sequence[Any]) -> Leaf:
    leaf = parts[0]
    while isinstance(leaf, Branch):
        leaf = leaf.parts[0]
    assert isinstance(leaf, Leaf)
    return leaf
