# SPDX-License-Identifier: Apache-2.0
"""Owners of what file actions make, by number or by a name in the files of an input.

Source of behaviour: Dockerfile reference, ``--chown``: a user's number alone is also the group's; a user's name alone
takes the group from its passwd entry; a group alone leaves the user at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from grammar.diagnostic import nearest
from llb.ops import Chown, NamedUser, UserOpt
from worker.base import FileOpError
from worker.tree import Tree, join, lookup, resolve

_LIMIT = 16 << 20


class Owner(NamedTuple):
    """A numeric owner."""

    uid: int = 0
    gid: int = 0


Lookup = Callable[[int], Tree | None]
"""Returns the tree of an op input by its index; None if there is none."""


def owner_of(chown: Chown | None, trees: Lookup) -> Owner | None:
    """Return the owner that an action asks for, None if it asks for none.

    Raises:
        FileOpError: a name is in no file, or the input has no such file.
    """
    if chown is None or (chown.user is None and chown.group is None):
        return None
    uid = gid = 0
    if isinstance(chown.user, NamedUser):
        uid, gid = _find(chown.user, trees, "/etc/passwd", "user", 4)
    elif chown.user is not None:
        uid = gid = chown.user
    if isinstance(chown.group, NamedUser):
        gid, _ = _find(chown.group, trees, "/etc/group", "group", 3)
    elif chown.group is not None:
        gid = chown.group
    return Owner(uid, gid)


def named_inputs(chown: Chown | None) -> frozenset[int]:
    """Return the op inputs whose files are needed to look up names."""
    options: tuple[UserOpt | None, ...] = () if chown is None else (chown.user, chown.group)
    return frozenset(option.input for option in options if isinstance(option, NamedUser))


def _find(who: NamedUser, trees: Lookup, path: str, kind: str, fields: int) -> tuple[int, int]:
    tree = trees(who.input)
    rows = list(_rows(tree, path, fields)) if tree is not None else None
    if not rows:
        raise FileOpError(
            f"unable to find {kind} {who.name!r}: no {path} in the file system that is copied into",
            help=f"give the {kind} by its number, or start from an image that has {path}",
        )
    for row in rows:
        if row[0] == who.name:
            return int(row[2]), int(row[3]) if fields > 3 else 0
    close = nearest(who.name, [row[0] for row in rows])
    advice = f"did you mean {close!r}? " if close else ""
    raise FileOpError(
        f"unable to find {kind} {who.name!r} in {path}",
        help=f"{advice}create the {kind} in an earlier step, or give it by its number",
    )


def _rows(tree: Tree, path: str, fields: int) -> Iterator[list[str]]:
    where = resolve(tree, path)
    node = lookup(tree, where)
    if node is None or not node.is_file:
        return
    with open(join(tree.base, where), "rb") as file:
        text = file.read(_LIMIT).decode("utf-8", "surrogateescape")
    for line in text.splitlines():
        row = line.strip().split(":")
        if len(row) >= fields and all(value.isascii() and value.isdigit() for value in row[2:fields]):
            yield row
