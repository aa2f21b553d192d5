# SPDX-License-Identifier: Apache-2.0
"""Owners for file actions, by id or by a name in an input's passwd and group files.

Source of behaviour: Dockerfile reference, ``--chown``: a user's number alone is also the group's; a user's name alone
takes the group from its passwd entry; a group alone leaves the user at 0. As in BuildKit a name that is in no file counts
as 0, and of a file's malformed fields as much as can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llbkit.llb.ir.ops import Chown, NamedUser, UserOpt
from llbkit.worker.base import FileOpError
from llbkit.worker.fs.tree import Tree, lookup, resolve

_LIMIT = 16 << 20
_NUMBER = re.compile("[+-]?[0-9]{1,18}")


class Owner(NamedTuple):
    """A numeric owner."""

    uid: int = 0
    gid: int = 0


Lookup = Callable[[int], Tree | None]
"""Returns the tree of an op input by its index; None if there is none."""


def owner_of(chown: Chown | None, trees: Lookup) -> Owner | None:
    """Return the owner that an action asks for, None if it asks for none.

    Raises:
        FileOpError: a name is to be looked up in a file system that the op does not have.
    """
    if chown is None or (chown.user is None and chown.group is None):
        return None
    uid = gid = 0
    if isinstance(chown.user, NamedUser):
        uid, gid = _find(chown.user, trees, "/etc/passwd", "user", 4) or (0, 0)
    elif chown.user is not None:
        uid = gid = chown.user
    if isinstance(chown.group, NamedUser):
        found = _find(chown.group, trees, "/etc/group", "group", 3)
        gid = found[0] if found is not None else gid
    elif chown.group is not None:
        gid = chown.group
    return Owner(uid, gid)


def named_inputs(chown: Chown | None) -> frozenset[int]:
    """Return the op inputs whose files are needed to look up names."""
    options: tuple[UserOpt | None, ...] = () if chown is None else (chown.user, chown.group)
    return frozenset(option.input for option in options if isinstance(option, NamedUser))


def _find(who: NamedUser, trees: Lookup, path: str, kind: str, fields: int) -> tuple[int, int] | None:
    """Return the numbers of the first entry of a name, None if there is none."""
    tree = trees(who.input)
    if tree is None:
        raise FileOpError(
            f"unable to find {kind} {who.name!r}: the destination is empty",
            help=f"use a numeric id, or an image with {path}",
        )
    for row in _rows(tree, path):
        if row[0] == who.name:
            uid, gid = (_number(row[index]) if index < len(row) else 0 for index in (2, 3))
            return uid, gid if fields > 3 else 0
    return None


def _rows(tree: Tree, path: str) -> Iterator[list[str]]:
    where = resolve(tree, path)
    node = lookup(tree, where)
    if node is None or not node.is_file:
        return
    with tree.open(where) as opened, open(opened.descriptor, "rb", closefd=False) as file:
        text = file.read(_LIMIT).decode("utf-8", "surrogateescape")
    for line in text.split("\n"):
        yield line.strip().split(":")


def _number(text: str) -> int:
    """Return an owner's number as the kernel takes it, in 32 bits; 0 if it is none."""
    return int(text) & 0xFFFFFFFF if _NUMBER.fullmatch(text) else 0
