# SPDX-License-Identifier: Apache-2.0
"""Shell words: quotes, escapes and ``$VARIABLE`` expansion as BuildKit's Dockerfile frontend does them.

Semantics are those recorded in the ``shell`` reference vectors: what a POSIX shell does, less field splitting of quoted text
and plus pattern substitution, in nine modes of quote and escape handling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from frontends.dockerfile.substitution import SubstitutionError, substitute, trim

_END = ""
_SPECIAL = frozenset("@*#?-$!0")
_UNSPECIAL = frozenset("$'\"\\`")


class WordError(Exception):
    """A word cannot be expanded. The message is BuildKit's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a lexer treats quotes, escapes and unset variables."""

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    skip_process_quotes: bool = False
    skip_unset_env: bool = False


@dataclass(slots=True)
class Expansion:
    """What came of a word: as one text, and split at unquoted white space; and which variables were looked up."""

    text: str = ""
    words: list[str] = field(default_factory=list)
    matched: set[str] = field(default_factory=set)
    unmatched: set[str] = field(default_factory=set)


PLAIN = Mode()


def expand(
    word: str, env: Mapping[str, str], mode: Mode = PLAIN, *, seen: Expansion | None = None
) -> Expansion:
    """Expand a word. Cost: linear in its length and in that of the values.

    ``seen`` collects looked-up variables also if the word is wrong.

    Raises:
        WordError: a quote or brace is not closed, a modifier is unknown, or ``${X:?message}`` says so.
    """
    out = seen if seen is not None else Expansion()
    if _UNSPECIAL.isdisjoint(word) and mode.escape not in word and "<<" not in word:
        out.text, out.words = word, word.split() if _has_only_plain_space(word) else _split(word)
        return out
    lexer = _Lexer(word, env, mode, out)
    try:
        out.text, out.words = lexer.until(_END, mode.raw_escapes)
    except WordError as error:
        raise WordError(f"failed to process {_quote(word)}: {error}") from None
    return out


def _has_only_plain_space(word: str) -> bool:
    return word.isascii() and not any(c in word for c in "\x1c\x1d\x1e\x1f")


def _split(word: str) -> list[str]:
    words = _Words()
    words.add(word)
    return words.finish()


def _quote(text: str) -> str:
    from frontends.dockerfile.ast import go_quote

    return go_quote(text)


def is_space(char: str) -> bool:
    """Tell whether Go's ``unicode.IsSpace`` holds."""
    return char in "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" or "\u2000" <= char <= "\u200a"


class _Words:
    """Splits at white space that was not quoted."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: list[str] = []

    def add(self, text: str) -> None:
        """Add text in which white space separates."""
        for char in text:
            if not is_space(char):
                self._word.append(char)
            elif self._word:
                self._end()

    def add_raw(self, text: str) -> None:
        """Add text in which white space does not separate."""
        if text:
            self._word.append(text)

    def _end(self) -> None:
        self._words.append("".join(self._word))
        self._word.clear()

    def finish(self) -> list[str]:
        if self._word:
            self._end()
        return self._words

    def forget(self) -> None:
        """Drop the word that is being read."""
        self._word.clear()


class _Lexer:
    def __init__(self, text: str, env: Mapping[str, str], mode: Mode, out: Expansion) -> None:
        self._text = text
        self._at = 0
        self._env = env
        self._mode = mode
        self._raw_escapes = mode.raw_escapes
        self._out = out
        self._outer: list[_Words] = []

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else _END

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _at_end(self) -> bool:
        return self._at >= len(self._text)

    def until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Read to an unquoted ``stop`` (the end if empty) and return the text and its words."""
        outer, self._raw_escapes = self._raw_escapes, raw_escapes
        try:
            return self._until(stop)
        finally:
            self._raw_escapes = outer
            self._outer.pop()

    def _until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        if self._outer:
            # As in BuildKit, what the outer word held so far is lost to the split.
            self._outer[-1].forget()
        self._outer.append(words)
        special: dict[str, Callable[[], str]] = {"$": self._dollar}
        if not self._mode.skip_process_quotes:
            special |= {"'": self._single, '"': self._double}
        while not self._at_end():
            char = self._peek()
            if stop and char == stop:
                self._next()
                return "".join(result), words.finish()
            if char in special:
                text = special[char]()
                result.append(text)
                (words.add if char == "$" else words.add_raw)(text)
                continue
            if not stop and self._text.startswith("<<", self._at):
                text = self._heredoc_mark()
                result.append(text)
                words.add_raw(text)
                continue
            self._next()
            if char == self._mode.escape:
                if self._raw_escapes:
                    words.add_raw(char)
                    result.append(char)
                char = self._next()
                words.add_raw(char)
            else:
                words.add(char)
            result.append(char)
        if stop:
            raise WordError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.finish()

    def _heredoc_mark(self) -> str:
        """Read ``<<`` or ``<<-`` with the white space after it: what follows belongs to the same word."""
        begin = self._at
        self._at += 2
        if self._peek() == "-":
            self._at += 1
        while (char := self._peek()) and is_space(char):
            self._at += 1
        return self._text[begin : self._at]

    def _single(self) -> str:
        begin = self._at
        self._next()
        end = self._text.find("'", self._at)
        if end < 0:
            self._at = len(self._text)
            raise WordError("unexpected end of statement while looking for matching single-quote")
        self._at = end + 1
        return self._text[begin : end + 1] if self._mode.raw_quotes else self._text[begin + 1 : end]

    def _double(self) -> str:
        result = [self._next()] if self._mode.raw_quotes else [self._next()][:0]
        while True:
            match self._peek():
                case "":
                    raise WordError("unexpected end of statement while looking for matching double-quote")
                case '"':
                    char = self._next()
                    return "".join([*result, char] if self._mode.raw_quotes else result)
                case "$":
                    result.append(self._dollar())
                case _:
                    result.append(self._in_double())

    def _in_double(self) -> str:
        char = self._next()
        if char != self._mode.escape:
            return char
        following = self._peek()
        if following == _END:
            return char if self._raw_escapes else ""
        if following in ('"', "$", self._mode.escape):
            self._next()
            return char + following if self._raw_escapes else following
        return char + char if self._raw_escapes else char

    def _dollar(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._look_up(name)
            if value is None:
                return f"${name}" if self._mode.skip_unset_env else ""
            return value
        self._next()
        if self._at_end():
            raise WordError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise WordError("syntax error: bad substitution")
        return self._braces(self._name())

    def _braces(self, name: str) -> str:
        char = self._next()
        shown = char or "\N{REPLACEMENT CHARACTER}"
        null_is_unset = False
        if char == "}":
            value = self._look_up(name)
            if value is None:
                return f"${{{name}}}" if self._mode.skip_unset_env else ""
            return value
        if char == "/":
            return self._replace(name)
        if char == ":":
            null_is_unset = True
            char = self._next()
            shown += char or "\N{REPLACEMENT CHARACTER}"
        if (not null_is_unset and (char == _END or char not in "+-?#%")) or (
            null_is_unset and char and char in "#%"
        ):
            raise WordError(f"unsupported modifier ({shown}) in substitution")
        word = self._argument("}", "syntax error: missing '}'", raw=char in ("#", "%"))
        if char not in ("+", "-", "?", "#", "%"):
            self._look_up(name)
            raise WordError(f"unsupported modifier ({shown}) in substitution")
        return self._modify(name, char, word, null_is_unset)

    def _argument(self, stop: str, missing: str, *, raw: bool) -> str:
        try:
            return self.until(stop, raw)[0]
        except WordError:
            if self._at_end():
                raise WordError(missing) from None
            raise

    def _modify(self, name: str, char: str, word: str, null_is_unset: bool) -> str:
        value = self._look_up(name)
        if value is None and self._mode.skip_unset_env:
            return f"${{{name}{':' if null_is_unset else ''}{char}{word}}}"
        unset = value is None or (null_is_unset and not value)
        match char:
            case "-":
                return word if unset else value or ""
            case "+":
                return "" if unset else word
            case "?":
                if unset:
                    default = (
                        "is not allowed to be empty"
                        if null_is_unset and value is not None
                        else "is not allowed to be unset"
                    )
                    raise WordError(f"{name}: {word or default}")
                return value or ""
            case _:
                longest = word.startswith(char)
                try:
                    return trim(
                        value or "", word.removeprefix(char) if longest else word, char == "%", longest
                    )
                except SubstitutionError as error:
                    raise WordError(str(error)) from None

    def _replace(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        pattern = self._argument("/", "syntax error: missing '/' in ${}", raw=True)
        replacement = self._argument("}", "syntax error: missing '}'", raw=True)
        value = self._look_up(name)
        if value is None and self._mode.skip_unset_env:
            return f"${{{name}/{'/' if every else ''}{pattern}/{replacement}}}"
        try:
            return substitute(value or "", pattern, replacement, every)
        except SubstitutionError as error:
            raise WordError(str(error)) from None

    def _name(self) -> str:
        begin = self._at
        first = self._peek()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first and first in _SPECIAL:
            self._at += 1
        else:
            while (char := self._peek()) and (char == "_" or char.isalpha() or char.isdigit()):
                self._at += 1
        return self._text[begin : self._at]

    def _look_up(self, name: str) -> str | None:
        value = self._env.get(name)
        (self._out.unmatched if value is None else self._out.matched).add(name)
        return value


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` strings as a map; the last of equal keys wins."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
