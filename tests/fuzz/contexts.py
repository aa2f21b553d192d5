# SPDX-License-Identifier: Apache-2.0
"""Build contexts of any shape, change them and build again: what COPY gives is what a simple model says.

    python -m tests.fuzz.contexts [--seconds N] [--seed N] [--cases N] [--crashes FOLDER]

Trees have odd names, links that lead out, special files and permissions; ignore files have any patterns. Between builds,
files change in every way, also so that size and modification time stay. Checked are: the files of every build against the
model; that a second build sees every change; that nothing outside of the context is read; that files which change while
they are read are seen as they were at one time, or are an error.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llbkit import BuildRequest, Engine, Output
from llbkit.config import Settings
from llbkit.grammar import DiagnosticError
from llbkit.solver.errors import VertexError
from llbkit.worker.base import WorkerError
from llbkit.worker.fs.descent import remove_tree
from tests.fuzz.driver import run_seeds

SLOW, MEMORY = 60, 2 << 30
SECRET = "what is outside stays outside"
IGNORE = ".dockerignore"

NAMES = [
    "a", "b", "c.txt", "d", "é", "a b", " lead", "*", "?", "[x]", "\\", "!bang", "#hash", "**", "^", "-x", "$HOME", "new\nline", ".wh.a",
    ".wh..wh..opq", "...", "..a", "\udcff\udcfe", "'", '"', "x" * 200, "UPPER", "a.log", "e\u0301",
]  # fmt: skip
TARGETS = [
    "a",
    "../a",
    "/a",
    "d/a",
    "missing",
    ".",
    "..",
    "/",
    "{outside}",
    "{outside}/secret",
    "../" * 20 + "etc/passwd",
    "{outside}/pipe",
    "loop",
]
PATTERNS = [
    "a", "b", "d", "*", "**", "*.txt", "**/a", "**/*.log", "d/*", "d/**", "?", "[a-c]", "[^a]", "\\*", "\\[x]", "/a", "./a", "a/", "d/../a",
    "*/*", "**/d/**", "*a*", "é", "..a", "a/b/c", "**/b/a", "\\!bang", "\\#hash", "#comment", "", "  a  ", ".wh.*", "**d", "d**",
]  # fmt: skip
MODES = [0o644, 0o755, 0o600, 0o000, 0o4755, 0o2711, 0o1777, 0o400]

Node = tuple[object, ...]


# -- trees


class Tree:
    """A context on disk that is filled and changed at random."""

    def __init__(self, folder: Path, outside: Path, source: random.Random) -> None:
        self.folder, self._outside, self._source = folder, outside, source

    def fill(self) -> None:
        folders = [self.folder]
        for _ in range(self._source.choice((0, 3, 10, 25))):
            self._make(self._source.choice(folders) / self._source.choice(NAMES), folders)
        self.write_ignore()

    def write_ignore(self) -> None:
        lines = [
            self._source.choice(("", "", "", "!")) + self._source.choice(PATTERNS)
            for _ in range(self._source.choice((0, 0, 1, 2, 4, 60)))
        ]
        ignore = self.folder / IGNORE
        ignore.unlink(missing_ok=True)
        if lines:
            ignore.write_text("\n".join(lines), "utf-8", "surrogateescape")

    def change(self) -> None:
        """Make some changes, each of which a build must see."""
        for _ in range(self._source.choice((1, 1, 2, 5))):
            paths = [path for path in everything(self.folder) if path.name not in (IGNORE, "Dockerfile")]
            if not paths or self._source.random() < 0.15:
                self._make(self.folder / self._source.choice(NAMES), [])
                continue
            with suppress(OSError):
                self._change(self._source.choice(paths))
        if self._source.random() < 0.2:
            self.write_ignore()

    def _make(self, path: Path, folders: list[Path]) -> None:
        if path.name == IGNORE or os.path.lexists(path):
            return
        pick = self._source.choice
        try:
            match self._source.randrange(12):
                case 0 | 1 | 2:
                    path.mkdir()
                    path.chmod(pick(MODES) | 0o700)
                    folders.append(path)
                case 3 | 4:
                    path.symlink_to(pick(TARGETS).format(outside=self._outside))
                case 5:
                    os.mkfifo(path)
                case 6:
                    with socket.socket(socket.AF_UNIX) as made:
                        made.bind(os.path.relpath(path))
                case 7:
                    others = [
                        other for other in everything(self.folder) if stat.S_ISREG(os.lstat(other).st_mode)
                    ]
                    if others := [other for other in others if other.name != IGNORE]:
                        os.link(pick(others), path)
                case _:
                    self._write(path)
        except OSError:
            return  # a socket's path is too long, for instance

    def _write(self, path: Path) -> None:
        path.write_bytes(self._source.randbytes(self._source.choice((0, 1, 10, 5000, 70_000))))
        path.chmod(self._source.choice(MODES))

    def _change(self, path: Path) -> None:
        status = os.lstat(path)
        regular = stat.S_ISREG(status.st_mode)
        match self._source.randrange(7):
            case 0:
                remove_tree(path)
            case 1:
                path.rename(self._source.choice((self.folder, path.parent)) / self._source.choice(NAMES))
            case 2 if not stat.S_ISLNK(status.st_mode):
                path.chmod(self._source.choice(MODES) | (0o700 if path.is_dir() else 0))
            case 3 if regular:
                # Equal size, equal modification time.
                path.write_bytes(self._source.randbytes(status.st_size))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            case 4 if regular:
                other = path.with_name("new")
                other.write_bytes(self._source.randbytes(status.st_size))
                os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
                other.rename(path)
            case 5:
                remove_tree(path)
                self._make(path, [])
            case _ if regular:
                self._write(path)


def everything(folder: Path) -> list[Path]:
    """Return every path below a directory, links not followed."""
    found, pending = [], [folder]
    while pending:
        for entry in sorted(os.scandir(pending.pop()), key=lambda entry: entry.name):
            found.append(Path(entry.path))
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
    return found


def shown(folder: Path) -> dict[str, Node]:
    """Return kind, mode and content of everything below a directory but its sockets."""
    found: dict[str, Node] = {}
    for path in everything(folder):
        status = os.lstat(path)
        mode = status.st_mode
        content: object = b""
        if stat.S_ISSOCK(mode):
            continue
        if stat.S_ISREG(mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(mode):
            content, mode = os.readlink(path), stat.S_IFLNK
        found[os.path.relpath(path, folder)] = (stat.S_IFMT(mode), stat.S_IMODE(mode), content)
    return found


# -- the model


def model(folder: Path) -> dict[str, Node]:
    """Return what ``COPY . /`` gives: what the ignore file leaves, and the directories above it."""
    files = shown(folder)
    rules = _rules(folder / IGNORE)
    states: dict[str, tuple[list[bool], bool]] = {"": ([False] * len(rules), False)}
    kept = set()
    for path in sorted(files, key=lambda path: path.split("/")):
        above = path.rpartition("/")[0]
        states[path] = _walk(rules, path, states[above][0])
        if not states[path][1]:
            kept.add(path)
            while above:
                kept.add(above)
                above = above.rpartition("/")[0]
    return {path: files[path] for path in kept}


_Rules = list[tuple[re.Pattern[str], bool]]


def _rules(ignore: Path) -> _Rules:
    try:
        lines = ignore.read_text("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        return []
    rules: _Rules = []
    for line in lines:
        pattern = "" if line.startswith("#") else line.strip()
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if pattern:
            rules.append((_expression(os.path.normpath(pattern).lstrip("/") or "/"), not negated))
    return rules


def _expression(pattern: str) -> re.Pattern[str]:
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + (".*" if at + 2 == len(pattern) else "(.*/)?"), at + 2
            if at == 2 and "*" not in pattern[2:] and "?" not in pattern[2:] and "[" not in pattern[2:]:
                out = ".*"  # at the start, it takes any text
        elif pattern[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif pattern[at] == "?":
            out, at = out + "[^/]", at + 1
        elif pattern[at] == "[":
            end = pattern.index("]", at + 1)
            out, at = out + pattern[at : end + 1], end + 1
        elif pattern[at] == "\\":
            out, at = out + re.escape(pattern[at + 1]), at + 2
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return re.compile(out, re.DOTALL)


def _walk(rules: _Rules, path: str, above: list[bool]) -> tuple[list[bool], bool]:
    """Return which rules match a path or something above it, and whether it is ignored: the last one decides."""
    matched, ignored = [], False
    for (expression, positive), inherited in zip(rules, above, strict=True):
        hit = inherited or (ignored is not positive and expression.fullmatch(path) is not None)
        matched.append(hit)
        if hit:
            ignored = positive
    return matched, ignored


# -- cases


@contextmanager
def world() -> Iterator[tuple[Engine, Path]]:
    with tempfile.TemporaryDirectory(prefix="llbkit-fuzz-contexts-") as name:
        folder = Path(name)
        (folder / "outside").mkdir()
        (folder / "outside" / "secret").write_text(SECRET)
        os.mkfifo(folder / "outside" / "pipe")  # who opens it hangs
        here = os.getcwd()
        (folder / "ctx").mkdir()
        os.chdir(folder / "ctx")  # sockets need short paths
        try:
            with Engine(settings=Settings(root=folder / "state")) as engine:
                yield engine, folder
        finally:
            os.chdir(here)
            remove_tree(folder / "ctx")


def case(source: random.Random) -> None:
    """Build a context, change it and build it again a few times."""
    with world() as (engine, folder):
        context = folder / "ctx"
        tree = Tree(context, folder / "outside", source)
        tree.fill()
        for number in range(source.choice((2, 3, 5))):
            if number:
                tree.change()
            with changing(context, source) if source.random() < 0.15 else still() as moving:
                result = build(engine, folder)
            compare(result, context, moving)


def build(engine: Engine, folder: Path) -> dict[str, Node] | str:
    """Return the files of ``COPY . /``, or why the build was refused."""
    dockerfile = folder / "dockerfile"
    dockerfile.mkdir(exist_ok=True)
    (dockerfile / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    out = folder / "out"
    remove_tree(out)
    request = BuildRequest(
        locals={"context": folder / "ctx", "dockerfile": dockerfile},
        outputs=(Output(type="local", dest=str(out)),),
    )
    try:
        asyncio.run(engine.build(request))
    except VertexError as error:
        assert isinstance(error.cause, WorkerError), error
        return str(error.cause)
    except DiagnosticError as error:
        return str(error) or "no reason"
    return shown(out)


def compare(result: dict[str, Node] | str, context: Path, moving: set[str]) -> None:
    expected = model(context)
    if isinstance(result, str):
        lines = (context / IGNORE).read_text().split("\n") if (context / IGNORE).is_file() else []
        lone = any(line.strip() == "!" for line in lines)
        assert moving or (lone and "exclusion" in result), f"the build was refused: {result}"
        return
    assert all(node[2] != SECRET.encode() for node in result.values()), "something outside was read"
    # A directory may be there for the sake of a file that comes and goes.
    unsure = moving | {os.fspath(above) for path in moving for above in Path(path).parents}
    wrong = [path for path in {*result, *expected} - unsure if result.get(path) != expected.get(path)]
    if wrong:
        ignore = (context / IGNORE).read_bytes() if (context / IGNORE).is_file() else b""
        lines = [
            f"{path!r}: {_short(result.get(path))}, expected {_short(expected.get(path))}"
            for path in sorted(wrong)
        ]
        raise AssertionError(f"{ignore!r}\n" + "\n".join(lines))


def _short(node: Node | None) -> str:
    return "nothing" if node is None else f"{node[0]:o} {node[1]:o} {node[2]!r:.40}"


@contextmanager
def still() -> Iterator[set[str]]:
    yield set()


@contextmanager
def changing(context: Path, source: random.Random) -> Iterator[set[str]]:
    """Change some files all the time while the block runs; give their paths."""
    moving = {
        os.path.relpath(path, context)
        for path in everything(context)
        if path.name != IGNORE and stat.S_ISREG(os.lstat(path).st_mode) and os.lstat(path).st_nlink == 1
    }
    moving = set(source.sample(sorted(moving), min(3, len(moving))))
    stop = threading.Event()
    seed = source.randrange(1 << 32)

    def change() -> None:
        own = random.Random(seed)
        while not stop.is_set():
            for path in moving:
                full = context / path
                match own.randrange(4):
                    case 0:
                        full.unlink(missing_ok=True)
                    case 1:
                        (context.parent / "new").write_bytes(own.randbytes(100))
                        (context.parent / "new").rename(full)
                    case _:
                        full.write_bytes(own.randbytes(own.choice((0, 10, 70_000))))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield moving
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    raise SystemExit(run_seeds("contexts", __doc__, case, slow=SLOW, memory=MEMORY))
