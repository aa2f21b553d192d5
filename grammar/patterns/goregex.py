# SPDX-License-Identifier: Apache-2.0
r"""Regular expressions of Go (RE2 syntax, the part that patterns can produce), translated to Python's.

Path patterns and ``${x#pattern}`` are defined by the regular expression that BuildKit builds of them, escapes
and classes included, so ``a\d`` and ``[[:alpha:]]`` mean what RE2 says they mean and ``\1`` is an error.
Groups, repetitions and anchors that the callers add themselves pass through unchanged.
"""

from __future__ import annotations

import re
from functools import lru_cache

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_PERL = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ANCHORS = {"A": r"\A", "b": r"(?a:\b)", "B": r"(?a:\B)", "z": r"\Z"}


class GoRegexError(ValueError):
    """The expression is not one of Go's; the text is what Go's compiler says, without its prefix."""


@lru_cache(maxsize=1024)
def compile_go(expression: str) -> re.Pattern[str]:
    """Compile a Go expression.

    Raises:
        GoRegexError: Go would refuse it.
    """
    try:
        return re.compile("".join(translate(expression)))
    except (re.error, OverflowError) as error:  # what RE2 takes and Python does not
        raise GoRegexError(str(error)) from error


def translate(expression: str) -> list[str]:
    """Return a Go expression in Python's syntax, cut into characters, classes, anchors and operators.

    Raises:
        GoRegexError: Go would refuse it.
    """
    return _Translator(expression).translate()


class _Translator:
    """One pass over an expression; ``i`` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.i = 0

    def translate(self) -> list[str]:
        out: list[str] = []
        while self.i < len(self.text):
            char = self.text[self.i]
            if char == "\\":
                out += self._escape_outside()
            elif char == "[":
                out.append(self._char_class())
            else:
                self.i += 1
                out.append(r"\Z" if char == "$" else char)
        return out

    def _escape_outside(self) -> list[str]:
        letter = self.text[self.i + 1 : self.i + 2]
        if letter in _ANCHORS and letter:
            self.i += 2
            return [_ANCHORS[letter]]
        if letter == "Q":
            end = self.text.find("\\E", self.i)
            literal = self.text[self.i + 2 : end if end >= 0 else len(self.text)]
            self.i = end + 2 if end >= 0 else len(self.text)
            return [re.escape(char) for char in literal]
        group = self._perl_class()
        return [f"[{group}]" if group else re.escape(self._escaped_char())]

    def _perl_class(self) -> str:
        letter = self.text[self.i + 1 : self.i + 2]
        if letter and letter.lower() in _PERL:
            self.i += 2
            members = _PERL[letter.lower()]
            return members if letter.islower() else _complement(members)
        return ""

    def _escaped_char(self) -> str:
        r"""Read ``\`` and what follows as one character."""
        start = self.i
        char = self.text[start + 1 : start + 2]
        if not char:
            raise GoRegexError("trailing backslash at end of expression: ``")
        self.i = start + 2
        if char in "01234567" and (char == "0" or self.text[self.i : self.i + 1] in tuple("01234567")):
            found = re.compile("[0-7]{1,3}").match(self.text, start + 1)
            self.i = found.end() if found else self.i
            return chr(int(found.group(), 8)) if found else char
        if char == "x":
            found = re.compile(r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\}").match(self.text, self.i)
            if found and (code := int(found.group(1) or found.group(2), 16)) <= 0x10FFFF:
                self.i = found.end()
                return chr(code)
        elif char in _CONTROL:
            return _CONTROL[char]
        elif char.isascii() and not char.isalnum():
            return char
        raise GoRegexError(f"invalid escape sequence: `{self.text[start : start + 2]}`")

    def _char_class(self) -> str:
        start = self.i
        self.i += 1
        negated = self.text.startswith("^", self.i)
        self.i += negated
        members: list[str] = []
        while not members or not self.text.startswith("]", self.i):
            if self.i >= len(self.text):
                raise GoRegexError(f"missing closing ]: `{self.text[start:]}`")
            members.append(self._class_item(start))
        self.i += 1
        return f"[{'^' if negated else ''}{''.join(members)}]"

    def _class_item(self, start: int) -> str:
        if self.text.startswith("[:", self.i):
            end = self.text.find(":]", self.i + 2)
            if end >= 0:
                return self._posix(end)
        if self.text.startswith("\\", self.i):
            group = self._perl_class()
            if group:
                return group
        begin = self.i
        low = self._class_char(start)
        high = low
        if self.text.startswith("-", self.i) and self.text[self.i + 1 : self.i + 2] not in ("", "]"):
            self.i += 1
            high = self._class_char(start)
            if high < low:
                raise GoRegexError(f"invalid character class range: `{self.text[begin : self.i]}`")
        return re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}"

    def _class_char(self, start: int) -> str:
        if self.i >= len(self.text):
            raise GoRegexError(f"missing closing ]: `{self.text[start:]}`")
        if self.text[self.i] == "\\":
            return self._escaped_char()
        self.i += 1
        return self.text[self.i - 1]

    def _posix(self, end: int) -> str:
        name = self.text[self.i + 2 : end]
        members = _POSIX.get(name.removeprefix("^"))
        if members is None:
            raise GoRegexError(f"invalid character class range: `{self.text[self.i : end + 2]}`")
        self.i = end + 2
        return _complement(members) if name.startswith("^") else members


def _complement(members: str) -> str:
    """The class members that a class of ``members`` leaves out, as class members."""
    taken = sorted(code for code in range(128) if re.match(f"[{members}]", chr(code)))
    ranges, begin = [], 0
    for code in taken:
        if code > begin:
            ranges.append(f"\\x{begin:02x}-\\x{code - 1:02x}")
        begin = code + 1
    return "".join(ranges) + f"\\U{begin:08x}-\\U0010ffff"
