# SPDX-License-Identifier: Apache-2.0
"""Lift a parse tree to dataclasses: a rule ``key_value`` becomes a ``KeyValue``.

The fields of a class are filled with the children of its rule, in order. A last field called ``parts`` takes all
that is left, as a tuple. Tokens become `Leaf` values, so nothing behind this module sees Lark.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import lark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Leaf(NamedTuple):
    """A token: its terminal, its text, and the half-open range of offsets it takes."""

    kind: str
    text: str
    start: int
    end: int


class Branch(NamedTuple):
    """A rule without a class: its name, its children, and the range of offsets it takes.

    The range is known if the grammar was loaded with ``positions``, and if the rule took anything.
    """

    rule: str
    parts: tuple[Any, ...]
    start: int = 0
    end: int = 0


class ParseTree:
    """An opaque parse tree, made by `llbkit.grammar.loader`, used up by `Lifter`."""

    __slots__ = ("root",)

    def __init__(self, root: lark.Tree[lark.Token]) -> None:
        self.root = root


class Lifter:
    """Makes dataclasses of trees. A rule without a class in ``classes`` becomes the tuple of its children.

    With ``branches`` it becomes a `Branch`, for languages with many rules of the same shape.
    """

    def __init__(self, classes: Iterable[type], *, branches: bool = False) -> None:
        self._branches = branches
        self._makers: dict[str, Callable[[Sequence[Any]], Any]] = {
            rule_name(cls.__name__): _maker(cls) for cls in classes
        }

    def lift(self, tree: ParseTree) -> Any:
        """Return the value of the root rule. Iterative: trees may be as deep as they like."""
        root = tree.root
        stack: list[tuple[lark.Tree[lark.Token], int, list[Any]]] = [(root, 0, [])]
        while True:
            node, position, done = stack.pop()
            children = node.children
            while position < len(children):
                child = children[position]
                position += 1
                if isinstance(child, lark.Tree):
                    stack.append((node, position, done))
                    node, position, done, children = child, 0, [], child.children
                else:
                    done.append(leaf(child))
            maker = self._makers.get(node.data)
            if maker:
                value = maker(done)
            else:
                value = _branch(node, tuple(done)) if self._branches else tuple(done)
            if not stack:
                return value
            stack[-1][2].append(value)


def _branch(node: lark.Tree[lark.Token], parts: tuple[Any, ...]) -> Branch:
    meta = node.meta
    if meta.empty:
        return Branch(node.data, parts)
    return Branch(node.data, parts, meta.start_pos, meta.end_pos)


def leaf(token: lark.Token) -> Leaf:
    """Return a token as a plain value."""
    return Leaf(token.type, token.value, token.start_pos or 0, token.end_pos or 0)


def rule_name(class_name: str) -> str:
    """Return the rule that belongs to a class: ``KeyValue`` to ``key_value``."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in class_name).lstrip("_")


def _maker(cls: type) -> Callable[[Sequence[Any]], Any]:
    names = [field.name for field in fields(cls) if field.init]
    if names[-1:] != ["parts"]:
        return lambda children: cls(*children)
    fixed = len(names) - 1
    return lambda children: cls(*children[:fixed], tuple(children[fixed:]))
