# SPDX-License-Identifier: Apache-2.0
"""Load ``.lark`` files, ours and anybody's: LALR, with the tables built once and kept on disk.

Building the tables of a grammar costs tens of milliseconds, reading them back a few. They are kept in the user's
cache directory under a name made of everything they depend on, with a checksum in front, so a damaged or stale
file is rebuilt and never used. No cache directory means no cache, not an error.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import sys
import tempfile
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lark
from lark import Token
from lark.lexer import Lexer

from llbkit.grammar.diagnostic import Diagnostic, DiagnosticError
from llbkit.grammar.lift import ParseTree
from llbkit.grammar.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Grammar", "Lexer", "Token", "cache_directory", "load"]

_OURS = "llbkit.grammar"
_IMPORT = re.compile(r"^[ \t]*%import[ \t]+\.?([\w.]+)[ \t]*(\()?", re.MULTILINE)
_PLACE = re.compile(r"line (\d+)")
_DIGEST_SIZE = 32


class Grammar:
    """A loaded grammar. Parsing is safe from several threads at once."""

    __slots__ = ("_lark", "name")

    def __init__(self, name: str, parser: lark.Lark) -> None:
        self.name = name
        self._lark = parser

    def parse(self, text: object) -> ParseTree:
        """Parse what the grammar's lexer takes (a string, unless it has its own lexer).

        Raises:
            lark.exceptions.UnexpectedInput: The text is not in the language; `llbkit.grammar.recover` makes a
                diagnostic of it.
        """
        return ParseTree(self.parse_raw(text))

    def parse_raw(self, text: object) -> lark.Tree[Token]:
        """Like `parse`, with Lark's own tree: for code of this package."""
        return self._lark.parse(text)

    @property
    def literals(self) -> dict[str, str]:
        """The text of every terminal that is a fixed string."""
        return {
            terminal.name: terminal.pattern.value
            for terminal in self._lark.terminals
            if terminal.pattern.type == "str"
        }

    @property
    def terminals(self) -> dict[str, str]:
        """The regular expression of every terminal that has one."""
        return {terminal.name: terminal.pattern.to_regexp() for terminal in self._lark.terminals}


_loaded: dict[tuple[str, str, type[Lexer] | None, bool], Grammar] = {}
_lock = threading.Lock()


def load(package: str, name: str, lexer: type[Lexer] | None = None, *, positions: bool = False) -> Grammar:
    """Return the grammar of ``<name>.lark`` in a package, anybody's; the same object every time.

    A grammar may import from others: ``%import tokens (NAME, STRING)``. They are looked for in its own package, then in
    `llbkit.grammar`, then among Lark's.

    Args:
        package: The package's name; that of a module (``__name__``) stands for the folder it is in.
        name: The file name without its suffix.
        lexer: A Lark lexer class that yields the tokens; Lark's contextual lexer if left out.
        positions: Whether rules know where they begin and end, keywords included; tokens always do.

    Raises:
        ImportError: The package does not exist.
        OSError: The file does not exist.
        DiagnosticError: The grammar is wrong.
    """
    key = (package, name, lexer, positions)
    with _lock:
        if key not in _loaded:
            _loaded[key] = Grammar(name, _tables(_Folder(package), name, lexer, positions))
        return _loaded[key]


class _Folder:
    """The files of a package, wherever its loader has them from (a folder, an archive)."""

    def __init__(self, package: str) -> None:
        module = import_module(package)
        self._get: Callable[[str], bytes] = getattr(module.__loader__, "get_data", _content)
        file = getattr(module, "__file__", None)
        self._places: list[str] = list(getattr(module, "__path__", ())) or [os.path.dirname(file or "")]

    def read(self, name: str) -> str | None:
        """Return the text of ``<name>.lark``; None if there is none."""
        for place in self._places:
            with suppress(FileNotFoundError):
                return self._get(os.path.join(place, f"{name}.lark")).decode()
        return None

    def __call__(self, base: object, path: str) -> tuple[str, str]:
        """Return an imported grammar, as Lark asks for it. Raises OSError."""
        text = self.read(path.removesuffix(".lark"))
        if text is None:
            raise FileNotFoundError(path)
        return f"{self._places[0]}/{path}", text


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


def cache_directory() -> Path:
    """Where the tables are kept: ``llbkit/grammar`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        RuntimeError: There is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "llbkit" / "grammar"


def _tables(folder: _Folder, name: str, lexer: type[Lexer] | None, positions: bool) -> lark.Lark:
    text = folder.read(name)
    if text is None:
        raise FileNotFoundError(f"there is no grammar {name}.lark beside the modules of its package")
    folders = [folder, _Folder(_OURS)]
    label = f"{lexer.__module__}.{lexer.__qualname__}" if lexer else "contextual"
    label += " positions" if positions else ""
    identity = "\0".join([lark.__version__, sys.version, label, *_with_imports(text, folders)])
    try:
        path = cache_directory() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tables"
    except RuntimeError:
        return _build(name, text, folders, lexer, positions)
    return _read(path) or _write(path, _build(name, text, folders, lexer, positions))


def _with_imports(text: str, folders: Sequence[_Folder]) -> list[str]:
    """Return a grammar and all that it imports, but for Lark's own: what its tables depend on."""
    texts, pending = [text], [text]
    while pending:
        for match in _IMPORT.finditer(pending.pop()):
            path = (match[1] if match[2] else match[1].rpartition(".")[0]).replace(".", "/")
            found = next((known for folder in folders if (known := folder.read(path)) is not None), None)
            if found is not None and found not in texts:
                texts.append(found)
                pending.append(found)
    return texts


def _build(
    name: str, text: str, folders: Sequence[_Folder], lexer: type[Lexer] | None, positions: bool
) -> lark.Lark:
    try:
        return lark.Lark(
            text,
            parser="lalr",
            lexer=lexer or "contextual",
            maybe_placeholders=False,
            propagate_positions=positions,
            import_paths=cast("list[str]", list(folders)),
        )
    except (lark.exceptions.LarkError, FileNotFoundError) as error:
        raise DiagnosticError(_wrong(Source(f"{name}.lark", text, "lark"), error)) from error


def _wrong(source: Source, error: Exception) -> Diagnostic:
    """Return what is wrong with a grammar, at the place that Lark's message names."""
    message = str(error).partition("\n")[0]
    if isinstance(error, FileNotFoundError):
        message = f"cannot import from {error.filename}: no such grammar"
    place = _PLACE.search(str(error))
    span = source.lines(int(place[1]), int(place[1])) if place else None
    return Diagnostic(
        code="grammar",
        message=f"invalid grammar: {message}",
        spans=(span,) if span is not None else (),
        help="grammars are written as Lark's documentation says, for its LALR parser",
    )


def _read(path: Path) -> lark.Lark | None:
    try:
        data = path.read_bytes()
        payload = data[_DIGEST_SIZE:]
        if hashlib.sha256(payload).digest() != data[:_DIGEST_SIZE]:
            return None
        return lark.Lark.load(io.BytesIO(payload))
    except (OSError, pickle.UnpicklingError, AttributeError, ImportError, KeyError, TypeError, EOFError):
        return None


def _write(path: Path, parser: lark.Lark) -> lark.Lark:
    """Keep the tables, complete or not at all; a cache that cannot be written costs time only."""
    buffer = io.BytesIO()
    parser.save(buffer)
    payload = buffer.getvalue()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    return parser
