# SPDX-License-Identifier: Apache-2.0
"""Generates contexts: trees with odd names, modes, links, special files and archives, and ignore files."""

from __future__ import annotations

import posixpath
import random

from tests.fuzz.builds.archives import COMPRESSIONS, FORMATS, Member
from tests.fuzz.builds.case import PAST, Entry

PLAIN_NAMES = (
    "a",
    "b",
    "f",
    "x.txt",
    "y.txt",
    "app.py",
    "README.md",
    "go.mod",
    "data.bin",
    ".hidden",
    "Makefile",
)
ODD_NAMES = (
    "[id].js", "a*b", "q?m", "*", "?.txt", "b\\s.txt", "two words", " lead", "trail ", "ünïcödé", "日本", "-dash", "--from=x", "$HOME",
    "${A}", "'quoted'", '"double"', "a#b", "#hash", "!bang", "~", "a,b", "a;b", "a=b", "a:b", "x{y}", "[", "]", "[a-z]", "...", "..x",
    "caf\u0065\u0301", "\u202eabc", "UPPER", "%41", "a&b", "(p)", "@at", "+plus", "n" * 120,
)  # fmt: skip
SOCKET = "app.sock"
"""The name of every socket, so that what becomes of one is known by its name."""
WHITEOUT_NAMES = (".wh.a", ".wh..wh..opq")
FOLDERS = (
    "src",
    "src/sub",
    "src/sub/deep",
    "pages",
    "node_modules",
    "node_modules/m",
    "docs",
    "empty",
    "d",
    "[d]",
)
FILE_MODES = (0o644, 0o644, 0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1644, 0o6711, 0o000, 0o777)
FOLDER_MODES = (0o755, 0o755, 0o755, 0o700, 0o1777, 0o2775, 0o3770, 0o711, 0o555)
TARGETS = (
    "a",
    "../a",
    "/a",
    "sub",
    "missing",
    ".",
    "..",
    "../../../etc/passwd",
    "/etc",
    "src/sub",
    "x.txt",
    "./f",
    "deep/../f",
    "//a//b/",
)


class Contexts:
    """Makes contexts out of one source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def tree(self, most: int = 12) -> tuple[Entry, ...]:
        """Return a tree; folders come before what is in them."""
        source = self._random
        entries: dict[str, Entry] = {}
        for _ in range(source.randrange(0, 4)):
            path = source.choice(FOLDERS)
            entries.setdefault(path, self._folder(path))
        folders = ["", *entries]
        for _ in range(source.randrange(1, most)):
            folder = source.choice(folders)
            name = self._name()
            entry = self._leaf(f"{folder}/{name}".lstrip("/"), list(entries.values()))
            entries.setdefault(entry.path, entry)
        return tuple(entries.values())

    def _name(self) -> str:
        source = self._random
        draw = source.random()
        if draw < 0.75:
            return source.choice(PLAIN_NAMES)
        return source.choice(ODD_NAMES) if draw < 0.985 else source.choice(WHITEOUT_NAMES)

    def _time(self) -> int:
        source = self._random
        return source.choice(
            (PAST, PAST, PAST + source.randrange(10**9), 0, 946_684_800 * 10**9, 999_999_999)
        )

    def _folder(self, path: str) -> Entry:
        return Entry(path=path, kind="dir", mode=self._random.choice(FOLDER_MODES), mtime=self._time())

    def _leaf(self, path: str, others: list[Entry]) -> Entry:
        source = self._random
        draw = source.random()
        files = [one.path for one in others if one.kind in ("file", "link", "fifo")]
        if draw < 0.60:
            return self._file(path)
        if draw < 0.72:
            return Entry(path=path, kind="link", target=source.choice(TARGETS), mtime=self._time())
        if draw < 0.80 and files:
            return Entry(path=path, kind="hard", target=source.choice(files))
        if draw < 0.92:
            return self.archive(path)
        if draw < 0.94:
            return Entry(path=path, kind="fifo", mode=0o644, mtime=self._time())
        if draw < 0.955:
            return Entry(
                path=posixpath.join(posixpath.dirname(path), SOCKET),
                kind="socket",
                mode=0o755,
                mtime=self._time(),
            )
        return self._file(path)

    def _file(self, path: str) -> Entry:
        source = self._random
        xattrs: tuple[tuple[str, str], ...] = ()
        if source.random() < 0.04:
            xattrs = (("user.note", source.choice(("61", "00ff"))),)
        elif source.random() < 0.02:
            xattrs = (("security.capability", "0100000200040000000000000000000000000000"),)
        data = source.choice(
            ("", "text\n", f"{path}\n", "x" * 5000, "#!/bin/sh\necho run\n", "\x00\x01binary")
        )
        return Entry(path=path, data=data, mode=source.choice(FILE_MODES), mtime=self._time(), xattrs=xattrs)

    def archive(self, path: str) -> Entry:
        """Return an archive under a name that need not tell its kind."""
        source = self._random
        form = source.choice(tuple(FORMATS))
        members: list[Member] = []
        for _ in range(source.randrange(0, 6)):
            members.append(self._member(members, form))
        tail = source.choice(("",) * 12 + ("+junk", "junk", "+" + "\0" * 700))
        return Entry(
            path=path,
            kind="archive",
            compression=source.choice(COMPRESSIONS),
            members=tuple(members),
            tail=tail,
            mtime=self._time(),
        )

    def _member(self, before: list[Member], form: str) -> Member:
        source = self._random
        names = (
            "f",
            "d/",
            "d/f",
            "./g",
            "e/deep/h",
            "l",
            "m",
            "d/../n",
            "sp ace",
            "ünï",
            "x" * 110 if form != "ustar" else "x",
        )
        name = source.choice((*names, *(one.name for one in before)))
        kind = (
            "dir"
            if name.endswith("/")
            else source.choice(("file",) * 6 + ("link", "link", "hard", "fifo", "contiguous", "dir"))
        )
        if source.random() < 0.02:
            kind = source.choice(("char", "unknown"))
        target = ""
        if kind == "link":
            target = source.choice(TARGETS)
        elif kind == "hard":
            files = [one.name for one in before if one.kind in ("file", "link")]
            kind, target = ("hard", source.choice(files)) if files else ("file", "")
        return Member(
            name=name, kind=kind, target=target, data=source.choice(("", "one\n", "two two\n")) if kind in ("file", "contiguous", "unknown") else "",
            mode=source.choice(FOLDER_MODES if kind == "dir" else FILE_MODES), uid=source.choice((0, 0, 1000, 33, 70000)), gid=source.choice((0, 0, 2000, 44)),
            mtime=source.choice((1_500_000_000, 1_500_000_000.5, 0, 1)), xattr=source.choice(("",) * 8 + ("v",)) if form == "pax" else "", form=form,
        )  # fmt: skip

    def ignore(self, entries: tuple[Entry, ...]) -> tuple[str, ...]:
        """Return lines of an ignore file that mostly concern the entries."""
        source = self._random
        lines = []
        for _ in range(source.randrange(1, 5)):
            line = source.choice(
                (
                    *self._patterns(entries),
                    "**/*.txt",
                    "*",
                    "**",
                    "src",
                    "src/**",
                    "*/f",
                    "**/sub",
                    "node_modules",
                    "[a-c]*",
                    "# note",
                    "",
                    "/docs",
                    "./a",
                    "src/",
                    "d*",
                    "?",
                    "**/.hidden",
                )
            )
            if source.random() < 0.4:
                line = "!" + line.lstrip("!")
            lines.append(line)
        return tuple(lines)

    def _patterns(self, entries: tuple[Entry, ...]) -> list[str]:
        return [one.path for one in entries if "\n" not in one.path] or ["a"]
