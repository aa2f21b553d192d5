# SPDX-License-Identifier: Apache-2.0
"""Joined lines to the terminals of ``grammar/dockerfile.lark``.

How a line is cut depends on its keyword; the table `_CUTS` says how. A token's value is a `Word`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from math import isinf
from typing import Any

from llbkit.frontends.dockerfile.program.words import is_space
from llbkit.frontends.dockerfile.syntax.lines import Joined, Lines
from llbkit.frontends.dockerfile.syntax.words import Form, Word, byte_runes
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.utf8 import replaced
from llbkit.grammar import Diagnostic, DiagnosticError, Source
from llbkit.grammar.loader import Lexer, Token
from llbkit.grammar.patterns.match import SPACE
from llbkit.records import dataclass

_GAP = re.compile(r"[\t\v\f\r ]+")
_MAX_ONBUILD = 50
_HEREDOC_KEYWORDS = frozenset({"ADD", "COPY", "RUN"})


@dataclass(frozen=True, slots=True)
class Text:
    """What is parsed: a source, its escape character, where instructions may begin, and whether lines may be too long."""

    source: Source
    escape: str
    first_line: int
    any_length: bool = False


class DockerfileLexer(Lexer):
    """A Lark lexer that reads a `Text`."""

    def __init__(self, lexer_conf: Any) -> None:
        self._types = lexer_conf

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        """Yield the tokens of a `Text`."""
        yield from tokens(getattr(lexer_state, "text", lexer_state))


def tokens(text: Text) -> Iterator[Token]:
    """Yield the tokens of a `Text`; each END token carries its `Joined` line."""
    lines = Lines(text.source, text.escape, text.first_line, any_length=text.any_length)
    for line in lines.joined():
        keyword, found = cut(line.text, text.escape, text.source, line)
        yield from found
        if _holds_heredocs(keyword, found, line):
            for heredoc in lines.take_heredocs(line):
                yield Token("HEREDOC", heredoc.mark)
        yield Token("END", _End(line, tuple(lines.warnings)))
        lines.warnings.clear()


@dataclass(frozen=True, slots=True)
class _End:
    line: Joined
    warnings: tuple[Any, ...]

    def __str__(self) -> str:
        return ""


def _holds_heredocs(keyword: str, found: list[Token], line: Joined) -> bool:
    if "<<" not in line.text or any(token.type == "JSON" for token in found):
        return False
    if keyword == "ONBUILD":
        keyword = next((token.type for token in found[1:] if token.type != "FLAG"), "")
    return keyword in _HEREDOC_KEYWORDS


def cut(
    text: str, escape: str, source: Source, line: Joined, start: int = 0, depth: int = 0
) -> tuple[str, list[Token]]:
    """Cut a joined line from ``start`` on: return the keyword's terminal and all tokens.

    Raises:
        DiagnosticError: what the keyword wants is not there.
    """
    begin = _SPACES.match(text, start).end()  # type: ignore[union-attr]
    end = len(text.rstrip(SPACE))
    gap = _GAP.search(text, begin, end)
    word_end = gap.start() if gap else end
    word = text[begin:word_end]
    kind = word.lower().upper()
    kind = kind if kind in _CUTS else "UNKNOWN"
    out = [Token(kind, Word(word, line.line_map, begin, word_end))]
    scanner = _Scanner(text, gap.end() if gap else end, end, escape, source, line, depth)
    if gap:
        out += scanner.flags()
    scanner.skip_space()
    out += _CUTS.get(kind, _nothing)(scanner)
    return kind, out


_PLAIN = re.compile(rf"""[^{SPACE}'"\\`]*""")
_PLAIN_FLAG = re.compile(r"[!#-&(-\[\]-~]*")
_SPACES = re.compile(f"[{SPACE}]*")
_LATIN_SPACE = re.compile("[\x85\xa0]")
_ASCII_SPACES = re.compile(r"[\t\n\v\f\r ]*")


class _Scanner:
    """The rest of a joined line: a position in it, and the ways to cut it."""

    def __init__(
        self, text: str, at: int, end: int, escape: str, source: Source, line: Joined, depth: int
    ) -> None:
        self.text = text
        self.at = at
        self.end = end
        self.escape = escape
        self.source = source
        self.line = line
        self.depth = depth

    def piece(self, start: int, end: int) -> Word:
        """Return a range of the line as it is written."""
        return Word(self.text[start:end], self.line.line_map, start, end)

    def skip_space(self) -> None:
        self.at = _SPACES.match(self.text, self.at, self.end).end()  # type: ignore[union-attr]

    @property
    def rest(self) -> str:
        return self.text[self.at : self.end]

    def error(self, code: str, message: str, hint: str = "") -> DiagnosticError:
        spans = tuple(self.source.lines(n, n) for n in range(self.line.first, self.line.last + 1))
        return DiagnosticError(Diagnostic(code=code, message=message, spans=spans, help=hint))

    def flags(self) -> list[Token]:
        """Read ``--name=value`` words; quotes and backslashes are taken off.

        BuildKit reads flags byte by byte: each byte of a character beyond ASCII becomes a character of its own, and
        ends the word if it is one of the white space of Latin-1.
        """
        out: list[Token] = []
        while True:
            self.at = _ASCII_SPACES.match(self.text, self.at, self.end).end()  # type: ignore[union-attr]
            if not self.text.startswith("--", self.at, self.end):
                return out
            begin = self.at
            word = self._flag()
            if word == "--":
                return out
            out.append(Token("FLAG", Word(word, self.line.line_map, begin, self.at, Form.FLAG)))

    def _plain(self, plain: re.Pattern[str] = _PLAIN) -> str:
        """Read a word up to the first quote or escape character; all of it if there is none."""
        found = plain.match(self.text, self.at, self.end)
        assert found is not None, "an empty word is one too"
        self.at = found.end()
        return found[0]

    def _flag(self) -> str:
        word = [self._plain(_PLAIN_FLAG)]
        quote = ""
        while self.at < self.end:
            char = self.text[self.at]
            if not quote and char.isascii() and is_space(char):
                break
            self.at += 1
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif char == "\\":
                if self.at < self.end:
                    word.append(byte_runes(self.text[self.at]))
                    self.at += 1
            elif char.isascii():
                word.append(char)
            else:
                runes = byte_runes(char)
                space = None if quote else _LATIN_SPACE.search(runes)
                word.append(runes[: space.start()] if space else runes)
                if space:
                    break
        return "".join(word)

    def split(self) -> list[Word]:
        """Split at white space."""
        out: list[Word] = []
        at = self.at
        if at >= self.end:
            return out
        for gap in _GAP.finditer(self.text, at, self.end):
            out.append(self.piece(at, gap.start()))
            at = gap.end()
        out.append(self.piece(at, self.end))
        return out

    def words(self) -> list[Word]:
        """Split at white space outside quotes; quotes and escapes are kept."""
        out: list[Word] = []
        while True:
            self.skip_space()
            if self.at >= self.end:
                return out
            begin = self.at
            word = self._word()
            if word:
                out.append(Word(replaced(word), self.line.line_map, begin, self.at))

    def _word(self) -> str:
        word = [self._plain()]
        quote = ""
        while self.at < self.end:
            char = self.text[self.at]
            if not quote and is_space(char):
                break
            self.at += 1
            if char == self.escape and quote != "'":
                if self.at >= self.end:
                    break
                word += [char, self.text[self.at]]
                self.at += 1
                continue
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            word.append(char)
        return "".join(word)

    def json(self) -> list[Token] | None:
        """Read a JSON array of strings; None if the rest is none.

        Raises:
            DiagnosticError: it is an array, but not of strings.
        """
        if not self.rest.startswith("["):
            return None
        try:
            items = _JSON.decode(replaced(self.rest))
        except (ValueError, RecursionError):
            return None
        if not all(isinstance(item, str) for item in items):
            raise self.error(
                "json-strings",
                "when using JSON array syntax, arrays must be comprised of strings only",
                'quote every item: ["echo", "1"]',
            )
        mark = Token("JSON", self.piece(self.at, self.at + 1))
        places = _JSON_STRING.finditer(self.text, self.at, self.end)
        return [
            mark,
            *(
                Token("ITEM", Word(replaced(item), self.line.line_map, place.start(), place.end(), Form.JSON))
                for item, place in zip(items, places, strict=True)
            ),
        ]


def _number(digits: str) -> float:
    """Read a number as Go does: what no float64 can hold is an error."""
    value = float(digits)
    if isinf(value):
        raise ValueError(digits)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_JSON = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_no_constant)


def _nothing(scanner: _Scanner) -> list[Token]:
    return []


def _spaced(scanner: _Scanner) -> list[Token]:
    return [Token("WORD", piece) for piece in scanner.split()]


def _quoted_words(scanner: _Scanner) -> list[Token]:
    return [Token("WORD", piece) for piece in scanner.words()]


def _whole(scanner: _Scanner) -> list[Token]:
    return [Token("TEXT", scanner.piece(scanner.at, scanner.end))] if scanner.rest else []


def _command(scanner: _Scanner) -> list[Token]:
    found = scanner.json()
    return _whole(scanner) if found is None else found


def _list(scanner: _Scanner) -> list[Token]:
    found = scanner.json()
    return _spaced(scanner) if found is None else found


def _pairs(keyword: str) -> Callable[[_Scanner], list[Token]]:
    def cut_pairs(scanner: _Scanner) -> list[Token]:
        begin = scanner.at
        words = scanner.words()
        if not words:
            return []
        if "=" not in words[0]:
            scanner.at = begin
            gap = _GAP.search(scanner.text, begin, scanner.end)
            if gap is None:
                raise scanner.error(
                    "two-arguments", f"{keyword} must have two arguments", f"write {keyword} key=value"
                )
            return [
                Token("KEY", scanner.piece(begin, gap.start())),
                Token("OLD_VALUE", scanner.piece(gap.end(), scanner.end)),
            ]
        out = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                message = f"Syntax error - can't find = in {go_quote(word)}. Must be of the form: name=value"
                raise scanner.error("no-equals", message, "quote values that contain spaces")
            middle = min(word.start + len(name), word.end)
            out.append(Token("KEY", Word(name, word.line, word.start, middle)))
            out.append(Token("VALUE", Word(value, word.line, min(middle + 1, word.end), word.end)))
        return out

    return cut_pairs


def _health(scanner: _Scanner) -> list[Token]:
    begin = scanner.at
    while scanner.at < scanner.end and not is_space(scanner.text[scanner.at]):
        scanner.at += 1
    if scanner.at == begin:
        return []
    word = Token("WORD", scanner.piece(begin, scanner.at))
    scanner.skip_space()
    return [word, *_command(scanner)]


def _onbuild(scanner: _Scanner) -> list[Token]:
    if not scanner.rest:
        return []
    if scanner.depth >= _MAX_ONBUILD:
        raise scanner.error(
            "onbuild-chain", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "write one ONBUILD"
        )
    return cut(scanner.text, scanner.escape, scanner.source, scanner.line, scanner.at, scanner.depth + 1)[1]


_CUTS: dict[str, Callable[[_Scanner], list[Token]]] = {
    "ADD": _list,
    "ARG": _quoted_words,
    "CMD": _command,
    "COPY": _list,
    "ENTRYPOINT": _command,
    "ENV": _pairs("ENV"),
    "EXPOSE": _spaced,
    "FROM": _spaced,
    "HEALTHCHECK": _health,
    "LABEL": _pairs("LABEL"),
    "MAINTAINER": _whole,
    "ONBUILD": _onbuild,
    "RUN": _command,
    "SHELL": _command,
    "STOPSIGNAL": _whole,
    "USER": _whole,
    "VOLUME": _list,
    "WORKDIR": _whole,
}
KEYWORDS = tuple(_CUTS)
