# SPDX-License-Identifier: Apache-2.0
"""The user of a process: names and ids, looked up in the root filesystem's passwd and group files.

Rules as BuildKit's: no user means root without supplementary groups; ``uid:gid`` in numbers needs no files and may be
any of the kernel's; a number alone takes its group from the passwd file (0 if it is not there); supplementary groups
apply only if no group is given. The home directory is that of the account found, which may be found by its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from llbkit.records import dataclass
from llbkit.worker.base import WorkerError
from llbkit.worker.fs.rootpath import read_file

_IDS = 2**32 - 1
"""All numbers that can be an owner; those of the files, and names, are below 2**31."""
_DIGITS = 10
_SIGNED = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Numeric identity of a process, with the home directory that goes with it."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


def lookup(root: Path, text: str) -> User:
    """Return the user that ``text`` (``name|uid[:group|gid]``, or empty for root) means inside ``root``.

    Raises:
        WorkerError: a name is in none of the files, or a number is out of range.
    """
    who, _, group = text.partition(":")
    accounts = list(_accounts(root))
    uid, gid = _number(who, _IDS), _number(group, _IDS)
    if not text or (uid is not None and gid is not None):
        home = next((a.home for a in accounts if a.uid == (uid or 0)), "")
        return User(uid=uid or 0, gid=gid or 0, home=home or "/")
    who = who or "0"
    uid = _number(who)
    account = next((a for a in accounts if (a.uid == uid if uid is not None else a.name == who)), None)
    if account is None:
        uid = uid if uid is not None else _signed(who)
        if uid is None:
            raise WorkerError(
                f"unable to find user {who}: no matching entries in passwd file",
                help="create the user in an earlier step or use a numeric id",
            )
        account = _Account("", uid, 0, "/")
    home = account.home or "/"
    if group:
        return User(uid=account.uid, gid=_group(root, group), home=home)
    extra = {gid for name, gid, members in _groups(root) if account.name and account.name in members}
    return User(uid=account.uid, gid=account.gid, groups=tuple(sorted(extra)), home=home)


def _group(root: Path, text: str) -> int:
    gid = _number(text)
    if gid is not None:
        return gid
    for name, number, _ in _groups(root):
        if name == text:
            return number
    gid = _signed(text)
    if gid is not None:
        return gid
    raise WorkerError(
        f"unable to find group {text}: no matching entries in group file",
        help="create the group in an earlier step or use a numeric id",
    )


def _signed(text: str) -> int | None:
    """Return a number with a sign, which no entry has, None if it is none."""
    if not _SIGNED.fullmatch(text):
        return None
    sign, digits = text[0], text.lstrip("+-0")
    number = _number(digits or "0")
    if number is None or (sign == "-" and number):
        raise WorkerError(
            f"user or group {text[:40]}: ids must be in range 0-{2**31 - 1}",
            help="use an id in the range, or the name of a user or group of the image",
        )
    return number


def _number(text: str, limit: int = 2**31) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    number = int(text)
    return number if number < limit else None


def _rows(root: Path, path: str, least: int) -> Iterator[list[str]]:
    for line in (read_file(root, path) or b"").decode("utf-8", "surrogateescape").split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= least and not line.startswith("#"):
            yield fields


def _accounts(root: Path) -> Iterator[_Account]:
    for fields in _rows(root, "/etc/passwd", 4):
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None:
            yield _Account(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")


def _groups(root: Path) -> Iterator[tuple[str, int, frozenset[str]]]:
    for fields in _rows(root, "/etc/group", 3):
        gid = _number(fields[2])
        if gid is not None:
            members = fields[3].split(",") if len(fields) > 3 else ()
            yield fields[0], gid, frozenset(members)
