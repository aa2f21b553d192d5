# SPDX-License-Identifier: Apache-2.0
"""Select the paths to read from a local directory, following symbolic links, as BuildKit's FollowPaths."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable

from llbkit.grammar.patterns.match import has_wildcard
from llbkit.worker.fs.select.wildcards import (
    as_pattern,
    component_matcher,
    literal_pattern,
    split_wildcards,
    whole_pattern,
)
from llbkit.worker.fs.tree import MAX_LINKS, join, relative, unreadable

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_MANY_STARS = re.compile(r"\\.|(\*\*)", re.DOTALL)

_Rest = tuple[tuple[str, bool], ...]
"""Components that are still to be walked; each with whether it is a wildcard, because names are not."""


def follow_paths(base: str, paths: Iterable[str]) -> list[str]:
    """Return patterns for every path, for each symbolic link on the way and for each place it leads to, sorted.

    The patterns are those of ``.dockerignore``; "" is the whole directory. Links stay inside ``base``. What does not exist
    is kept as written. ``**`` is both what it is in a wildcard path, ``*``, and what it is in a pattern, any depth.

    Cost: one directory listing for each directory that wildcards are matched in, and one ``readlink`` for each component.
    """
    return sorted(_Followed(base).of(paths))


class _Followed:
    def __init__(self, base: str) -> None:
        self._base = base
        self._found: set[str] = set()
        self._seen: set[tuple[str, _Rest]] = set()
        self._pending: list[tuple[str, _Rest, int]] = []
        self._listed: dict[str, list[tuple[str, bool, bool]]] = {}

    def of(self, paths: Iterable[str]) -> set[str]:
        for path in paths:
            names, wildcards = split_wildcards(relative(path))
            self._add("", (*_components(names), *_components(wildcards, wildcards=True)), 0)
            while self._pending:
                self._walk(*self._pending.pop())
        return self._found

    def _add(self, here: str, rest: _Rest, links: int) -> None:
        if (here, rest) not in self._seen:
            self._seen.add((here, rest))
            self._pending.append((here, rest, links))

    def _walk(self, here: str, rest: _Rest, links: int) -> None:
        """Go on from the directory ``here``, which no link leads to, until something branches off."""
        for index, (name, wildcard) in enumerate(rest):
            if name == "..":
                here = here.rpartition("/")[0]
                continue
            if wildcard:
                self._match(here, rest[index:], links)
                return
            here, above = join(here, name), here
            try:
                target = os.readlink(join(self._base, here))
            except OSError as error:
                if error.errno in _ABSENT:
                    self._take(here, rest[index + 1 :])
                    return
            else:
                self._link(here, above, target, rest[index + 1 :], links)
                return
        self._take(here)

    def _match(self, here: str, rest: _Rest, links: int) -> None:
        self._take(here, rest)
        match = component_matcher(rest[0][0]).fullmatch
        for name, is_link, is_dir in self._entries(here):
            if not match(name):
                continue
            path = join(here, name)
            if is_link:
                self._link(path, here, os.readlink(join(self._base, path)), rest[1:], links)
            elif is_dir and len(rest) > 1:
                self._add(path, rest[1:], links)

    def _take(self, here: str, rest: _Rest = ()) -> None:
        """Add ``here``, which no link leads to, and what is below it as it is written."""
        head = [literal_pattern(here)] if here else []
        if any(name == ".." for name, _ in rest):  # in the target of a link that leads nowhere
            rest = ()
        written = [as_pattern(name) if wildcard else literal_pattern(name) for name, wildcard in rest]
        self._found.add(whole_pattern([*head, *written]))
        deep = [
            name if wildcard and _has_many_stars(name) else other
            for (name, wildcard), other in zip(rest, written, strict=True)
        ]
        if deep != written:
            self._found.add(whole_pattern([*head, *deep]))

    def _link(self, path: str, above: str, target: str, rest: _Rest, links: int) -> None:
        self._take(path)
        if links < MAX_LINKS:
            start = "" if target.startswith("/") else above
            self._add(start, (*_components(target.split("/")), *rest), links + 1)

    def _entries(self, path: str) -> list[tuple[str, bool, bool]]:
        """Return the names in a directory, each with whether it is a link and whether it is a directory."""
        known = self._listed.get(path)
        if known is not None:
            return known
        found: list[tuple[str, bool, bool]] = []
        try:
            with os.scandir(join(self._base, path)) as entries:
                found = [
                    (entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries
                ]
        except OSError as error:
            if error.errno not in _ABSENT:
                raise unreadable(join(self._base, path), error) from error
        self._listed[path] = found
        return found


def _components(parts: Iterable[str], *, wildcards: bool = False) -> _Rest:
    """Behind a wildcard, a backslash escapes even where no other wildcard is."""
    return tuple(
        (name, wildcards and (has_wildcard(name) or "\\" in name)) for name in parts if name not in ("", ".")
    )


def _has_many_stars(name: str) -> bool:
    return any(found.group(1) for found in _MANY_STARS.finditer(name))
