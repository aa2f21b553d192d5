# SPDX-License-Identifier: Apache-2.0
"""The files that a copy selects from its source: the single rule behind both its content key and its execution.

Source of behaviour: BuildKit's file copy. Wildcards choose roots; links are followed to the roots only; patterns are
relative to a root; a directory between a root and something taken is taken along.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from typing import NamedTuple

from llbkit.grammar.patterns.match import has_wildcard
from llbkit.llb.ir.ops import Copy
from llbkit.records import dataclass
from llbkit.worker.fs.select.filters import START, Filter, FilterState
from llbkit.worker.fs.tree import Node, Tree, expand, join, lookup, relative, resolve


class Pick(NamedTuple):
    """One selected node: its path in the tree, the path below its root ("" is the root), the node.

    ``implied`` is a directory that is taken only because something below it is.
    """

    path: str
    below: str
    node: Node
    implied: bool = False


class Root(NamedTuple):
    """One match: the path as chosen, where it leads, and what is taken, parents first; nothing if it is missing."""

    chosen: str
    path: str
    picks: Sequence[Pick]

    @property
    def name(self) -> str:
        """The last component of the path as chosen; "" for the whole tree."""
        return self.chosen.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A part of a tree.

    ``contents`` says that a selected directory's own metadata do not count, only its entries. Without ``modes`` or
    ``owners`` permissions or owners do not count in the digest, because the copy replaces them.
    """

    src: str = "/"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    follow: bool = False
    wildcard: bool = False
    contents: bool = True
    modes: bool = True
    owners: bool = True

    @property
    def text(self) -> str:
        """A canonical form, e.g. for a cache key's selector."""
        fields = {
            "src": "/" + relative(self.src),
            "include": self.include,
            "exclude": self.exclude,
            "required": self.required,
            "follow": self.follow,
            "wildcard": self.wildcard and has_wildcard(self.src),
            "contents": self.contents,
            "modes": self.modes,
            "owners": self.owners,
        }
        chosen = {name: value for name, value in fields.items() if value not in ((), False)}
        return json.dumps(chosen, sort_keys=True, separators=(",", ":"))

    @property
    def named(self) -> bool:
        """Whether the roots' names are part of the content, because wildcards chose them."""
        return self.wildcard and has_wildcard(self.src)

    def roots(self, tree: Tree) -> list[Root]:
        """Return the selected roots in order. A path without wildcards has one, perhaps missing.

        Raises:
            WorkerError: links lead in circles, a pattern is malformed, or the tree cannot be read.
        """
        chosen = expand(tree, self.src, follow=self.follow) if self.wildcard else [relative(self.src)]
        rule = Filter(self.include, self.exclude)
        return [self._root(tree, path, rule) for path in chosen]

    def missing(self, tree: Tree) -> list[str]:
        """Return the ``required`` paths that are not in the tree."""
        return [
            path
            for path in self.required
            if not any(lookup(tree, resolve(tree, p, last=False)) for p in expand(tree, path, follow=True))
        ]

    def _root(self, tree: Tree, chosen: str, rule: Filter) -> Root:
        path = resolve(tree, chosen, last=self.follow)
        node = lookup(tree, path)
        if node is None:
            return Root(chosen, path, ())
        picks = _all(tree, path, node) if not rule else _filtered(tree, path, node, rule)
        return Root(chosen, path, picks)


def of_copy(action: Copy) -> Selection:
    """Return what a copy action selects."""
    owner = action.owner
    return Selection(
        src=action.src,
        include=action.include_patterns,
        exclude=action.exclude_patterns,
        required=action.required_paths,
        follow=action.follow_symlink,
        wildcard=action.allow_wildcard,
        contents=action.dir_copy_contents,
        modes=bool(action.mode_str) or action.mode == -1,
        owners=owner is None or (owner.user is None and owner.group is None),
    )


def _all(tree: Tree, path: str, node: Node) -> list[Pick]:
    found = []
    pending = [Pick(path, "", node)]
    while pending:
        pick = pending.pop()
        found.append(pick)
        if pick.node.kind == stat.S_IFDIR:
            here, below = (f"{base}/" if base else "" for base in (pick.path, pick.below))
            children = [
                Pick(here + name, below + name, child) for name, child in tree.children(pick.path).items()
            ]
            children.reverse()
            pending += children
    return found


def _filtered(tree: Tree, path: str, node: Node, rule: Filter) -> list[Pick]:
    found: list[tuple[Pick, bool]] = []
    pending: list[tuple[Pick, bool, FilterState]] = [(Pick(path, "", node), True, START)]
    while pending:
        pick, taken, state = pending.pop()
        found.append((pick, taken))
        if not pick.node.is_dir:
            continue
        children = []
        for name, child in tree.children(pick.path).items():
            below = join(pick.below, name)
            verdict = rule.judge(below, state, is_dir=child.is_dir)
            if verdict.taken or (child.is_dir and verdict.enter):
                item = (Pick(join(pick.path, name), below, child), verdict.taken, verdict.state)
                children.append(item)
        pending += reversed(children)
    return _without_idle_directories(found)


def _without_idle_directories(found: list[tuple[Pick, bool]]) -> list[Pick]:
    """Drop directories that are neither taken nor above something taken."""
    needed: set[str] = set()
    kept = []
    for pick, taken in reversed(found):
        if taken or pick.below in needed:
            kept.append(pick if taken else pick._replace(implied=True))
            needed.add(pick.below.rpartition("/")[0])
    kept.reverse()
    return kept
