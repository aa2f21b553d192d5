# SPDX-License-Identifier: Apache-2.0
"""What a lint rule is: a class in a file of its own, with its documentation, examples and handlers of facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.lint.facts import Fact
from llbkit.grammar import Fix, Span
from llbkit.records import dataclass

_OPEN, _CLOSE = "«", "»"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: a message, the exact range that it is about, and ways to mend it.

    ``place`` is what it is reported at, if that is not the instruction of the fact.
    """

    message: str
    span: Span | None = None
    fixes: tuple[Fix, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A program that shows a rule.

    In a bad one ``«`` and ``»`` enclose what is found. ``fixed`` is the text once all fixes are made, also unsafe ones; ""
    if there are none. ``ignored`` is the ignore file; ``image`` the platform of the base image, which differs from the
    build's then.
    """

    text: str
    fixed: str = ""
    ignored: str = ""
    image: str = ""

    @property
    def program(self) -> str:
        """The text without marks."""
        return self.text.replace(_OPEN, "").replace(_CLOSE, "")

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The half-open ranges of `program` that are marked, in their order."""
        out: list[tuple[int, int]] = []
        at, start = 0, 0
        for char in self.text:
            if char == _OPEN:
                start = at
            elif char == _CLOSE:
                out.append((start, at))
            else:
                at += 1
        return out


class Rule:
    """A lint rule. One object sees the facts of one program once, so it may remember them.

    Its docstring says what it finds, ``Why:``, and what to write instead.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    good: ClassVar[tuple[Example, ...]]
    bad: ClassVar[tuple[Example, ...]]
    experimental: ClassVar[bool] = False
    """Must be asked for."""
    needs_image: ClassVar[bool] = False
    """Cannot tell without what the base image's config says: what it finds where that is not known is not reported, but
    that it was skipped."""
    heeds_comments: ClassVar[bool] = True
    """A comment above the instruction can switch it off."""
    handlers: ClassVar[tuple[tuple[type[Fact], frozenset[str], str], ...]] = ()
    """The facts it hears, of which instructions (none: of all), and the names of the methods that do: those with `hears`."""

    def __init_subclass__(cls) -> None:
        """Collect the handlers."""
        cls.handlers = tuple(
            (kind, keywords, name)
            for name, method in vars(cls).items()
            for kind, keywords in getattr(method, "hears", ())
        )

    @classmethod
    def url(cls) -> str:
        """Return where the rule is documented; "" if nowhere."""
        return ""


SomeRule = TypeVar("SomeRule", bound=Rule)
SomeFact = TypeVar("SomeFact", bound=Fact)
Handler = Callable[[SomeRule, SomeFact], Iterator[Finding]]


def hears(kind: type[SomeFact], *keywords: str) -> Callable[[Handler[Any, SomeFact]], Handler[Any, SomeFact]]:
    """Have a method of a rule called with each fact of a kind, or those of some instructions; it yields what it finds."""

    def mark(method: Handler[Any, SomeFact]) -> Handler[Any, SomeFact]:
        method.hears = (*getattr(method, "hears", ()), (kind, frozenset(keywords)))  # type: ignore[attr-defined]
        return method

    return mark
