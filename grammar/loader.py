# SPDX-License-Identifier: Apache-2.0
"""Load the ``.lark`` files of this package: LALR, with the tables built once and kept on disk.

Building the tables of a grammar costs tens of milliseconds, reading them back a few. They are kept in the user's
cache directory under a name made of everything they depend on, with a checksum in front, so a damaged or stale
file is rebuilt and never used. No cache directory means no cache, not an error.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import lark
from lark import Token
from lark.lexer import Lexer

from llbkit.grammar.lift import ParseTree

__all__ = ["Grammar", "Lexer", "Token", "cache_directory", "load"]

_FOLDER = Path(__file__).parent
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


_loaded: dict[tuple[str, type[Lexer] | None], Grammar] = {}
_lock = threading.Lock()


def load(name: str, lexer: type[Lexer] | None = None) -> Grammar:
    """Return the grammar of ``grammar/<name>.lark``; the same object every time.

    Args:
        name: The file name without its suffix.
        lexer: A Lark lexer class that yields the tokens; Lark's contextual lexer if left out.

    Raises:
        OSError: the file does not exist.
        lark.exceptions.GrammarError: The grammar is wrong.
    """
    key = (name, lexer)
    with _lock:
        if key not in _loaded:
            _loaded[key] = Grammar(name, _tables((_FOLDER / f"{name}.lark").read_text("utf-8"), name, lexer))
        return _loaded[key]


def cache_directory() -> Path:
    """Where the tables are kept: ``llbkit/grammar`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        RuntimeError: There is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "llbkit" / "grammar"


def _tables(text: str, name: str, lexer: type[Lexer] | None) -> lark.Lark:
    label = f"{lexer.__module__}.{lexer.__qualname__}" if lexer else "contextual"
    identity = f"{lark.__version__}\0{sys.version}\0{label}\0{text}"
    try:
        path = cache_directory() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tables"
    except RuntimeError:
        return _build(text, lexer)
    return _read(path) or _write(path, _build(text, lexer))


def _build(text: str, lexer: type[Lexer] | None) -> lark.Lark:
    return lark.Lark(text, parser="lalr", lexer=lexer or "contextual", maybe_placeholders=False)


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
