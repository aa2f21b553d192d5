# SPDX-License-Identifier: Apache-2.0
r"""Path patterns: the language of ``.dockerignore``, of ``COPY --exclude`` and of local source filters.

``*`` and ``?`` stay inside one path element, ``**`` crosses elements, ``!`` at the start takes paths back, the
last pattern that matches a path or one of its parents wins. The corners are those of BuildKit's matcher and are
recorded in the ``dockerignore`` reference vectors: ``**.log`` also matches in the root, ``^`` is an anchor in a
pattern with wildcards, a leading ``[!`` is not a negation.

Patterns are compiled once: exact ones to string comparisons, the rest to one regular expression each. Of many patterns,
only those are tried that a path could match (`llbkit.grammar.patterns.index`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from llbkit.grammar.automaton import FEW, Automaton, Item
from llbkit.grammar.patterns.goregex import GoRegexError, compile_go, translate
from llbkit.grammar.patterns.index import MANY, PatternIndex
from llbkit.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class PatternError(ValueError):
    """A pattern that cannot be used; the text is BuildKit's."""


BAD_PATTERN = "syntax error in pattern"

SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""The white space of Go's ``unicode.IsSpace``."""


def clean_path(path: str) -> str:
    """Return the shortest form of a slash-separated path: ``.`` and inner ``..`` resolved, never empty.

    The rules are those of Go's ``path.Clean``.
    """
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or ("/" if rooted else ".")


_WILDCARD = re.compile(r"(?>[^*?\[\\]|\\.?)*+[*?\[]", re.DOTALL)


def has_wildcard(path: str) -> bool:
    r"""Return whether a source path is matched rather than looked up: ``*``, ``?`` or ``[`` that is not escaped.

    A path without one is a name, backslashes included, as in BuildKit: ``a\b`` is the file ``a\b``, but ``a\b*`` is
    every name that begins with ``ab``.
    """
    return _WILDCARD.match(path) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """One cleaned pattern. ``match`` answers for a path alone; it raises `PatternError` if it cannot."""

    text: str
    exclusion: bool
    match: Callable[[str], bool]

    def __str__(self) -> str:
        return f"!{self.text}" if self.exclusion else self.text


@dataclass(frozen=True, slots=True)
class WalkState:
    """What a directory walk carries from a directory to its entries: the positions of patterns that matched it."""

    matched: frozenset[int] = frozenset()
    ignored: bool = False


class PatternMatcher:
    """An ordered list of patterns.

    Raises:
        PatternError: A pattern is malformed, or is a lone ``!``. `matches` and its kin raise it for the few
            that are found out only by matching (``[z-a]``).
    """

    __slots__ = ("_above", "_index", "_steps", "has_exclusions", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns: tuple[Pattern, ...] = tuple(
            _compile(clean_path(stripped)) for text in patterns if (stripped := text.strip(SPACE))
        )
        self.has_exclusions: bool = any(pattern.exclusion for pattern in self.patterns)
        self._steps = tuple((pattern.match, not pattern.exclusion) for pattern in self.patterns)
        self._above: dict[str, frozenset[int]] = {}
        self._index: PatternIndex | None = None
        if len(self.patterns) >= MANY:
            refusing = [place for place, pattern in enumerate(self.patterns) if pattern.match is _refuse]
            self._index = PatternIndex([pattern.text for pattern in self.patterns], refusing)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __len__(self) -> int:
        return len(self.patterns)

    def matches(self, path: str) -> bool:
        """Return whether ``path`` itself is matched; its parents do not count. Cost: few or all patterns (`PatternIndex`)."""
        verdict = False
        for index in self._asked(path):
            match, positive = self._steps[index]
            # A pattern that could not change the verdict is not tried.
            if verdict is not positive and match(path):
                verdict = positive
        return verdict

    def matches_or_parent(self, path: str) -> bool:
        """Return whether ``path`` or one of its parents is matched. Cost: as `matches`, once its directory was asked for."""
        above = self._matched_above(path)
        verdict = False
        for index in self._asked(path, above):
            match, positive = self._steps[index]
            if verdict is not positive and (match(path) or index in above):
                verdict = positive
        return verdict

    def walk(self, path: str, parent: WalkState | None = None) -> WalkState:
        """Answer for ``path`` given the answer for its directory (None at the top). Cost: as `matches`.

        A pattern that matched the directory counts as matching everything below it. The verdict may differ
        from `matches_or_parent` where a parent is taken back after its child was matched, as in BuildKit.
        """
        inherited = _NONE if parent is None else parent.matched
        above = self._matched_above(path) if parent is None else _NONE
        matched = []
        verdict = False
        for index in self._asked(path, above | inherited):
            match, positive = self._steps[index]
            hit = index in inherited
            if not hit and verdict is not positive:
                hit = match(path) or index in above
            if hit:
                matched.append(index)
                verdict = positive
        return WalkState(frozenset(matched), verdict)

    def _asked(self, path: str, known: frozenset[int] = frozenset()) -> Iterable[int]:
        """Return the positions of the patterns that may match ``path``, and of those that are ``known`` to count, in order."""
        if self._index is None:
            return range(len(self._steps))
        return sorted(self._index.candidates(path) | known)

    def _matched_above(self, path: str) -> frozenset[int]:
        """Return the positions of the patterns that match a directory above ``path``. Answers are kept by directory."""
        hits = self._above.get(_directory(path))
        if hits is not None:
            return hits
        hits = _NONE
        for parent in _parents(path):
            found = self._above.get(parent)
            if found is None:
                found = hits.union(
                    index for index in self._asked(parent) if _matches(self._steps[index][0], parent)
                )
                if len(self._above) >= _KEPT_DIRECTORIES:
                    self._above.clear()
                self._above[parent] = found
            hits = found
        return hits


_NONE: frozenset[int] = frozenset()
_KEPT_DIRECTORIES = 65536


def _matches(match: Callable[[str], bool], path: str) -> bool:
    """Match a parent: what is wrong with the pattern has been said for the path itself."""
    try:
        return match(path)
    except PatternError:
        return False


def _directory(path: str) -> str:
    """The directory of ``path`` as Go's ``path.Dir`` gives it; ``.`` for the root."""
    head, slash, _ = path.rpartition("/")
    return clean_path(head or slash)


def _parents(path: str) -> list[str]:
    """The directories above ``path``, outermost first; none for a path in the root."""
    directory = _directory(path)
    if directory == ".":
        return []
    parts = directory.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


_CLASS_CHAR = r"(?:\\[^\ud800-\udfff]|[^\\\]\-\ud800-\udfff])"
_WELL_FORMED = re.compile(rf"(?:[^\[\\]|\\.|\[\^?+(?:{_CLASS_CHAR}(?:-{_CLASS_CHAR})?)+\])*", re.DOTALL)
"""What Go's ``filepath.Match`` takes as a pattern."""


def _compile(cleaned: str) -> Pattern:
    exclusion = cleaned.startswith("!")
    text = cleaned[1:] if exclusion else cleaned
    if not text:
        raise PatternError('illegal exclusion pattern: "!"')
    if not _WELL_FORMED.fullmatch(text):
        raise PatternError(BAD_PATTERN)
    return Pattern(text, exclusion, _matcher(text))


_TOKEN = re.compile(r"(\*\*/?)|(\*)|(\?)|([.+()|{}$])|\\(.)|([\[\]])|(.)", re.DOTALL)


@lru_cache(maxsize=1024)
def _matcher(text: str) -> Callable[[str], bool]:
    """Choose the cheapest way to match ``text``: equality, prefix, suffix, or a regular expression."""
    kind = "exact"
    expression = ["^"]
    for token in _TOKEN.finditer(text):
        double, star, question, special, escaped, bracket, plain = token.groups()
        if double:
            if token.end() < len(text):
                expression.append("(.*/)?")
                kind = "regex"
            elif kind == "exact":
                kind = "prefix"
            else:
                expression.append(".*")
                kind = "regex"
            if token.start() == 0:
                kind = "suffix"
        elif star or question:
            expression.append("[^/]*" if star else "[^/]")
            kind = "regex"
        elif escaped or bracket:
            expression.append(f"\\{escaped}" if escaped else bracket)
            kind = "regex"
        else:
            expression.append(f"\\{special}" if special else plain)
    return _MATCHERS[kind](text if kind != "regex" else "".join((*expression, "$")))


def _regex(expression: str) -> Callable[[str], bool]:
    """Return what matches as an expression; compiled when it is first asked, unless it may be one that Go refuses."""
    if "[" in expression.replace("[^/]", "") or re.search(r"\\[^.+()|{}$]", expression):
        return _compiled(expression)
    compiled: list[Callable[[str], bool]] = []

    def match(path: str) -> bool:
        if not compiled:
            compiled.append(_compiled(expression))
        return compiled[0](path)

    return match


def _compiled(expression: str) -> Callable[[str], bool]:
    try:
        if expression.count("*") > FEW:
            return _automaton(expression).fullmatch
        search = compile_go(expression).search
    except GoRegexError:
        return _refuse
    return lambda path: search(path) is not None


def _automaton(expression: str) -> Automaton:
    """Return what matches as the expression of a pattern does, and never takes long. Raises GoRegexError."""
    compile_go(expression)
    items: list[Item] = []
    pieces = translate(expression)
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        if piece == "(":  # (.*/)?
            items += [Item(None, skip=3), Item(_ANY, repeats=True), Item(re.compile("/"))]
            at += 6
        elif pieces[at + 1 : at + 2] == ["*"]:
            items.append(Item(re.compile(piece), repeats=True))
            at += 2
        else:
            items.append(Item(None, holds=_HOLDS[piece]) if piece in _HOLDS else Item(re.compile(piece)))
            at += 1
    # What is searched for ends at the end only because its expression says so.
    return Automaton([*items, Item(re.compile("(?s:.)"), repeats=True)])


_ANY = re.compile(".")
_WORD = re.compile("[0-9A-Za-z_]")


def _at_word(before: str, following: str) -> bool:
    return bool(_WORD.match(before)) != bool(_WORD.match(following))


_HOLDS: dict[str, Callable[[str, str], bool]] = {
    "^": lambda before, _: not before,
    r"\A": lambda before, _: not before,
    r"\Z": lambda _, following: not following,
    r"(?a:\b)": _at_word,
    r"(?a:\B)": lambda before, following: not _at_word(before, following),
}


def _refuse(path: str) -> bool:
    raise PatternError(BAD_PATTERN)


def _suffix(text: str) -> Callable[[str], bool]:
    suffix = text[2:]
    if not suffix.startswith("/"):
        return lambda path: path.endswith(suffix)
    name = suffix[1:]
    return lambda path: path.endswith(suffix) or path == name


def _prefix(text: str) -> Callable[[str], bool]:
    prefix = text[:-2]
    return lambda path: path.startswith(prefix)


_MATCHERS: dict[str, Callable[[str], Callable[[str], bool]]] = {
    "exact": lambda text: text.__eq__,
    "prefix": _prefix,
    "suffix": _suffix,
    "regex": _regex,
}
