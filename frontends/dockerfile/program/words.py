# SPDX-License-Identifier: Apache-2.0
"""Expansion of words: variables, quotes, escapes and ``${...}`` operators, exactly as BuildKit does it.

A word is parsed through words.lark once and its tree kept; expanding walks the tree with an environment. A word
without special characters never gets that far. Results, errors and the sets of variables that were looked up are
those of the ``shell`` reference vectors, in all their modes of quote and escape handling.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from llbkit.frontends.dockerfile.program.substitution import LONGEST, SubstitutionError, substitute, trim
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.utf8 import replaced
from llbkit.grammar.patterns.match import SPACE
from llbkit.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llbkit.grammar.lift import Leaf


class WordError(Exception):
    """A word cannot be expanded. The message is BuildKit's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a word is read and what is kept of it."""

    escape: str = "\\"
    raw_quotes: bool = False
    """Keep quotes in the result."""
    raw_escapes: bool = False
    """Keep escape characters in the result."""
    skip_process_quotes: bool = False
    """Quotes mean nothing."""
    skip_unset_env: bool = False
    """Keep references to variables that are not set."""


@dataclass(slots=True)
class Expansion:
    """What came of a word: as one text, and split at unquoted white space; and which variables were looked up."""

    text: str = ""
    words: list[str] = field(default_factory=list)
    matched: set[str] = field(default_factory=set)
    unmatched: set[str] = field(default_factory=set)


PLAIN = Mode()

_SPECIAL = re.compile(r"""[$'"\\`]|<<""")
_GAP = re.compile(f"[{SPACE}]+")
_SPACES = frozenset(SPACE)


def expand(
    word: str, env: Mapping[str, str], mode: Mode = PLAIN, *, seen: Expansion | None = None
) -> Expansion:
    """Expand a word. Cost: linear in its length and in that of the values.

    Args:
        word: The text as written; bytes that are not UTF-8 become U+FFFD.
        env: The variables that are set.
        mode: Escape character and what to keep.
        seen: Collects the looked-up variables also if the word is wrong.

    Raises:
        WordError: A quote or brace is not closed, a modifier is unknown, a required variable has no value, or a
            pattern is malformed; or its variables' values are longer than `LONGEST` together.
    """
    out = seen if seen is not None else Expansion()
    text = str(word)  # without its place
    if not text.isascii():
        text = replaced(text.removeprefix("\ufeff"))
    if not _SPECIAL.search(text):
        out.text, out.words = text, [part for part in _GAP.split(text) if part]
        return out
    expander = _Expander(env, mode, out, len(text))
    try:
        out.text = expander.top(_parse(text, mode.escape, not mode.skip_process_quotes))
    except _FailureError as failure:
        raise WordError(f"failed to process {go_quote(word)}: {failure}") from None
    out.words = expander.words.finish()
    return out


class VariableUse(NamedTuple):
    """A variable in a word: its name, and the half-open range of ``$name`` or all of ``${name...}``."""

    name: str
    start: int
    end: int


def references(word: str, mode: Mode = PLAIN) -> tuple[VariableUse, ...]:
    """Return the variables that a word expands, in their order; those inside of ``${...}`` come after the outer one.

    Cost: linear. A malformed word has those that can be read.
    """
    shift = int(word.startswith("\ufeff"))
    text = replaced(word[shift:])
    if "$" not in text:
        return ()
    out: list[VariableUse] = []
    pending: list[_Word | _Double | _Dollar | Leaf] = [
        _parse(text, mode.escape, not mode.skip_process_quotes)
    ]
    while pending:
        part = pending.pop()
        match part:
            case _Word(parts) | _Double(parts):
                pending += reversed(parts)
                continue
            case _Plain(start, name, end):
                pass
            case _Modified(start, name, _, inner, end):
                pending.append(inner)
            case _Replaced(start, name, _, inner, parts):
                pending += [item for item in reversed(parts) if isinstance(item, _Word)]
                pending.append(inner)
                end = parts[-1] if isinstance(parts[-1], tuple) else name
            case tuple() if part.kind == "VARIABLE":
                out.append(VariableUse(part.text[1:], part.start + shift, part.end + shift))
                continue
            case _:
                continue
        out.append(VariableUse(name.text, start.start + shift, end.end + shift))
    return tuple(out)


def is_space(char: str) -> bool:
    """Return whether Go's ``unicode.IsSpace`` holds."""
    return char in _SPACES


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` strings as a map; the last of equal keys wins."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


# The tree. Classes are named after the rules of words.lark.


@dataclass(frozen=True, slots=True)
class _Word:
    parts: tuple[Leaf | _Double | _Dollar, ...]


@dataclass(frozen=True, slots=True)
class _Double:
    parts: tuple[Leaf | _Dollar, ...]


@dataclass(frozen=True, slots=True)
class _Plain:
    open: Leaf
    name: Leaf
    close: Leaf


@dataclass(frozen=True, slots=True)
class _Modified:
    open: Leaf
    name: Leaf
    modifier: Leaf
    word: _Word
    close: Leaf


@dataclass(frozen=True, slots=True)
class _Replaced:
    open: Leaf
    name: Leaf
    slash: Leaf
    pattern: _Word
    parts: tuple[Leaf | _Word, ...]
    """The slash, the replacement and the brace; or the open end."""


@dataclass(frozen=True, slots=True)
class _Malformed:
    parts: tuple[Leaf, ...]


_Dollar = _Plain | _Modified | _Replaced | _Malformed


def _parse(text: str, escape: str, quotes: bool) -> _Word:
    """Return the tree of a word; those of short words are kept, and those of the last long ones."""
    return (_kept if len(text) <= _KEPT_LENGTH else _last)(text, escape, quotes)


_KEPT_LENGTH = 1000


def _read(text: str, escape: str, quotes: bool) -> _Word:
    from llbkit.grammar.lift import Lifter
    from llbkit.grammar.loader import load
    from llbkit.grammar.word_lexer import WordInput, WordLexer

    lifter = Lifter((_Word, _Double, _Plain, _Modified, _Replaced, _Malformed))
    tree = load("llbkit.grammar", "words", WordLexer).parse(WordInput(text, escape, quotes))
    (word,) = lifter.lift(tree)
    assert isinstance(word, _Word)
    return word


_kept = lru_cache(maxsize=4096)(_read)
_last = lru_cache(maxsize=2)(_read)


class _FailureError(Exception):
    """A word is wrong; ``at`` is how far it had been read."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class _Words:
    """Splits at white space that was not quoted."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: list[str] = []

    def add(self, text: str) -> None:
        """Add text in which white space separates."""
        first, *others = _GAP.split(text)
        self.add_raw(first)
        for other in others:
            self._end()
            self.add_raw(other)

    def add_raw(self, text: str) -> None:
        """Add text in which white space does not separate."""
        if text:
            self._word.append(text)

    def _end(self) -> None:
        if self._word:
            self._words.append("".join(self._word))
            self._word.clear()

    def finish(self) -> list[str]:
        """Return all words."""
        self._end()
        return self._words

    def forget(self) -> None:
        """Drop the word that is being read."""
        self._word.clear()


class _Expander:
    """Walks the tree of one word. Errors arise in the order in which BuildKit's lexer meets them."""

    def __init__(self, env: Mapping[str, str], mode: Mode, out: Expansion, length: int) -> None:
        self._env = env
        self._mode = mode
        self._out = out
        self._raw_escapes = mode.raw_escapes
        self._length = length
        self._room = LONGEST
        self.words = _Words()

    def top(self, word: _Word) -> str:
        """Expand a whole word and split it on the way."""
        result = []
        for part in word.parts:
            text = self._part(part)
            result.append(text)
            if _splits(part):
                self.words.add(text)
            else:
                self.words.add_raw(text)
        return "".join(result)

    def _part(self, part: Leaf | _Double | _Dollar) -> str:
        if isinstance(part, _Double):
            return self._double(part)
        if isinstance(part, _Plain | _Modified | _Replaced | _Malformed):
            return self._dollar(part)
        return self._leaf(part)

    def _leaf(self, leaf: Leaf) -> str:
        match leaf.kind:
            case "VARIABLE":
                name = leaf.text[1:]
                return self._value(name, leaf.text)
            case "ESCAPED":
                return leaf.text if self._raw_escapes else leaf.text[1:]
            case "TRAILING_ESCAPE":
                return leaf.text if self._raw_escapes else ""
            case "SINGLE":
                return leaf.text if self._mode.raw_quotes else leaf.text[1:-1]
            case "OPEN_SINGLE":
                raise _FailureError(_UNCLOSED.format("single"), leaf.end)
            case _:
                return leaf.text

    def _double(self, double: _Double) -> str:
        *inside, end = double.parts
        result = []
        for part in inside[1:]:
            if isinstance(part, _Plain | _Modified | _Replaced | _Malformed):
                result.append(self._dollar(part))
            elif part.kind == "LONE_ESCAPE":
                result.append(part.text * 2 if self._raw_escapes else part.text)
            else:
                result.append(self._leaf(part))
        assert isinstance(end, tuple)
        if end.kind == "UNCLOSED":
            raise _FailureError(_UNCLOSED.format("double"), end.end)
        return f'"{"".join(result)}"' if self._mode.raw_quotes else "".join(result)

    def _dollar(self, part: _Dollar) -> str:
        match part:
            case _Plain():
                return self._value(part.name.text, f"${{{part.name.text}}}")
            case _Modified():
                return self._modified(part)
            case _Replaced():
                return self._replaced(part)
            case _Malformed():
                raise _FailureError(part.parts[-1].text, part.parts[-1].end)

    def _value(self, name: str, reference: str) -> str:
        value = self._look_up(name)
        if value is None:
            return reference if self._mode.skip_unset_env else ""
        return value

    def _look_up(self, name: str) -> str | None:
        value = self._env.get(name)
        if value:
            self._room -= len(value)
            if self._room < 0:
                raise _FailureError(f"the values of its variables are longer than {LONGEST} characters", 0)
        (self._out.unmatched if value is None else self._out.matched).add(name)
        return value

    def _argument(self, word: _Word, close: Leaf, missing: str, *, raw_escapes: bool) -> str:
        """Expand a word inside of braces.

        As in BuildKit, the outer word's beginning is lost to the split, and an error at the very end of the text
        is reported as the missing end.
        """
        self.words.forget()
        outer, self._raw_escapes = self._raw_escapes, raw_escapes
        try:
            text = "".join(map(self._part, word.parts))
        except _FailureError as failure:
            if failure.at >= self._length:
                raise _FailureError(missing, failure.at) from None
            raise
        finally:
            self._raw_escapes = outer
        if close.kind == "UNCLOSED":
            raise _FailureError(missing, close.end)
        return text

    def _modified(self, part: _Modified) -> str:
        name, modifier = part.name.text, part.modifier.text
        operator = modifier[-1]
        word = self._argument(
            part.word, part.close, "syntax error: missing '}'", raw_escapes=operator in "#%"
        )
        value = self._look_up(name)
        if value is None and self._mode.skip_unset_env:
            return f"${{{name}{modifier}{word}}}"
        unset = value is None or (modifier[0] == ":" and not value)
        match operator:
            case "-":
                return word if unset else value or ""
            case "+":
                return "" if unset else word
            case "?" if unset:
                default = f"is not allowed to be {'unset' if value is None else 'empty'}"
                raise _FailureError(f"{name}: {word or default}", part.close.end)
            case "?":
                return value or ""
            case "#" | "%":
                longest = word.startswith(operator)
                try:
                    return trim(value or "", word[1:] if longest else word, operator == "%", longest)
                except SubstitutionError as error:
                    raise _FailureError(str(error), part.close.end) from None
            case _:
                raise _FailureError(f"unsupported modifier ({modifier}) in substitution", part.close.end)

    def _replaced(self, part: _Replaced) -> str:
        end = part.parts[0]
        assert isinstance(end, tuple)
        pattern = self._argument(part.pattern, end, "syntax error: missing '/' in ${}", raw_escapes=True)
        _, word, close = part.parts
        assert isinstance(word, _Word)
        assert isinstance(close, tuple)
        replacement = self._argument(word, close, "syntax error: missing '}'", raw_escapes=True)
        name, slash = part.name.text, part.slash.text
        value = self._look_up(name)
        if value is None and self._mode.skip_unset_env:
            return f"${{{name}{slash}{pattern}/{replacement}}}"
        try:
            return substitute(value or "", pattern, replacement, slash == "//")
        except SubstitutionError as error:
            raise _FailureError(str(error), close.end) from None


_UNCLOSED = "unexpected end of statement while looking for matching {}-quote"


def _splits(part: Leaf | _Double | _Dollar) -> bool:
    """Return whether white space in what came of a part separates words."""
    return not isinstance(part, _Double) and (
        not isinstance(part, tuple) or part.kind in ("TEXT", "VARIABLE")
    )
