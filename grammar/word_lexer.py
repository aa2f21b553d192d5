# SPDX-License-Identifier: Apache-2.0
"""The lexer of words.lark: it tracks the brackets and quotes around its position."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lark import Token
from lark.lexer import Lexer

from llbkit.grammar.patterns.match import SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100
"""How deep substitutions may be nested."""


class WordInput(NamedTuple):
    """A word and how to read it. With ``quotes`` false, quotes are plain text."""

    text: str
    escape: str = "\\"
    quotes: bool = True


class WordLexer(Lexer):
    """Yields the terminals of words.lark for a `WordInput`."""

    def __init__(self, lexer_conf: object) -> None:
        pass

    def lex(self, lexer_state: WordInput) -> Iterator[Token]:  # type: ignore[override]
        """Yield the tokens of a word. Cost: linear."""
        yield from _Scan(lexer_state).tokens()


class _Scan:
    """One word being read. ``stops`` holds the character that ends each open bracket or quote."""

    def __init__(self, source: WordInput) -> None:
        self.text, self.escape, self.quotes = source
        self.at = 0
        self.stops: list[str] = []
        self.failed = False

    def tokens(self) -> Iterator[Token]:
        length = len(self.text)
        while self.at < length and not self.failed:
            char = self.text[self.at]
            stop = self.stops[-1] if self.stops else ""
            if char == stop:
                yield self._close(stop)
            elif char == "$":
                yield from self._dollar()
            elif char == self.escape:
                yield self._escape(stop)
            elif stop != '"' and self.quotes and char in "'\"":
                yield self._quote(char)
            elif not stop and (mark := _HEREDOC_MARK.match(self.text, self.at)):
                yield self._token("HEREDOC_MARK", mark.end())
            else:
                run = _plain_run(self.escape, stop, self.quotes).match(self.text, self.at)
                yield self._token("TEXT", run.end() if run else self.at + 1)
        for _ in self.stops:
            yield self._token("UNCLOSED", self.at)

    def _token(self, kind: str, end: int, value: str | None = None) -> Token:
        start, self.at = self.at, end
        return Token(kind, self.text[start:end] if value is None else value, start_pos=start, end_pos=end)

    def _close(self, stop: str) -> Token:
        self.stops.pop()
        if stop == "/":
            self.stops.append("}")
        return self._token({"/": "PATTERN_END", "}": "CLOSE", '"': "DQUOTE"}[stop], self.at + 1)

    def _escape(self, stop: str) -> Token:
        following = self.text[self.at + 1 : self.at + 2]
        if stop == '"':
            if following and following in f'"${self.escape}':
                return self._token("ESCAPED", self.at + 2)
            return self._token("LONE_ESCAPE", self.at + 1)
        return (
            self._token("ESCAPED", self.at + 2) if following else self._token("TRAILING_ESCAPE", self.at + 1)
        )

    def _quote(self, char: str) -> Token:
        if char == '"':
            self.stops.append('"')
            return self._token("DQUOTE", self.at + 1)
        end = self.text.find("'", self.at + 1)
        return self._token("OPEN_SINGLE", len(self.text)) if end < 0 else self._token("SINGLE", end + 1)

    def _dollar(self) -> Iterator[Token]:
        if not self.text.startswith("{", self.at + 1):
            end = _name_end(self.text, self.at + 1)
            yield self._token("VARIABLE" if end > self.at + 1 else "TEXT", end)
            return
        yield self._token("OPEN", self.at + 2)
        if self.at >= len(self.text):
            yield self._malformed("syntax error: missing '}'", self.at)
        elif self.text[self.at] in "{}:":
            yield self._malformed("syntax error: bad substitution", self.at)
        elif len(self.stops) >= MAX_DEPTH:
            yield self._malformed("syntax error: substitutions are nested too deeply", self.at)
        else:
            yield self._token("NAME", _name_end(self.text, self.at))
            yield self._operator()

    def _operator(self) -> Token:
        char = self.text[self.at : self.at + 1]
        if char == "}":
            return self._token("CLOSE", self.at + 1)
        if char == "/":
            self.stops.append("/")
            return self._token("SLASH", self.at + (2 if self.text.startswith("//", self.at) else 1))
        shown = self.text[self.at : self.at + 2] if char == ":" else char
        end = self.at + len(shown)
        if len(shown) < (2 if char == ":" else 1):
            shown += "\N{REPLACEMENT CHARACTER}"
        if (char and char in "+-?#%") or (char == ":" and shown[1] not in "#%"):
            self.stops.append("}")
            return self._token("MODIFIER", end, shown)
        return self._malformed(f"unsupported modifier ({shown}) in substitution", end)

    def _malformed(self, message: str, end: int) -> Token:
        self.failed = True
        return self._token("MALFORMED", end, message)


@lru_cache(maxsize=32)
def _plain_run(escape: str, stop: str, quotes: bool) -> re.Pattern[str]:
    special = f"${escape}{stop}" + ("'\"" if quotes and stop != '"' else "")
    if stop:
        return re.compile(f"[^{re.escape(special)}]+")
    return re.compile(f"(?:[^<{re.escape(special)}]|<(?!<))+")


_HEREDOC_MARK = re.compile(rf"<<-?[{SPACE}]*")


_ASCII_NAME = re.compile(r"[A-Za-z0-9_]*")
_DIGITS = re.compile(r"\d+")


def _name_end(text: str, start: int) -> int:
    """Where a variable name ends: digits only, one special character, or letters, digits and ``_``."""
    digits = _DIGITS.match(text, start)
    if digits:
        return digits.end()
    if text[start : start + 1] in tuple("@*#?-$!"):
        return start + 1
    end = start
    while True:
        found = _ASCII_NAME.match(text, end)
        end = found.end() if found else end
        char = text[end : end + 1]
        if not (char.isalpha() or char.isdecimal()):
            return end
        end += 1
