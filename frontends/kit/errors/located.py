# SPDX-License-Identifier: Apache-2.0
"""Errors of a program, and how they get their spans as they propagate.

As in BuildKit, each caller that knows an instruction (or what a language has in its stead) adds its location. Beside it an error has the exact
place to show, if whoever raised it or passed it on knows one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from llbkit.frontends.kit.errors.places import Place
from llbkit.grammar import Diagnostic, DiagnosticError, Span


class ProgramError(DiagnosticError):
    """An error in a program or in what it is built with.

    ``locations`` are the places it was located at, innermost first. A precise ``span`` is shown in their stead.
    """

    def __init__(self, message: str, *, code: str, hint: str = "", span: Span | None = None) -> None:
        self.locations: tuple[Place, ...] = ()
        self._precise = span is not None
        super().__init__(
            Diagnostic(code=code, message=message, spans=(span,) if span is not None else (), help=hint)
        )

    def locate(self, place: Place, *, replace_all: bool = False) -> ProgramError:
        """Add a location, or put it in the place of those known."""
        self.locations = (place,) if replace_all else (*self.locations, place)
        if not self._precise:
            spans = tuple(span for known in self.locations for span in known.spans)
            self.diagnostics = (replace(self.diagnostics[0], spans=spans), *self.diagnostics[1:])
        return self

    def point(self, span: Span | None) -> None:
        """Show a precise place instead of whole instructions, unless there is one already."""
        if span is not None and not self._precise:
            self._precise = True
            self.diagnostics = (replace(self.diagnostics[0], spans=(span,)), *self.diagnostics[1:])

    def add(self, others: Iterable[Diagnostic]) -> None:
        """Add further errors after this one, in the file's order; those that are already reported are left out."""
        known = {(one.message, one.span) for one in self.diagnostics}
        new = [one for one in others if (one.message, one.span) not in known]
        first, *rest = self.diagnostics
        self.diagnostics = (first, *sorted([*rest, *new], key=_position))

    def prefixed(self, prefix: str) -> ProgramError:
        """Put words before the message."""
        first = self.diagnostics[0]
        self.diagnostics = (replace(first, message=prefix + first.message), *self.diagnostics[1:])
        self.args = (self.diagnostics[0].message,)
        return self


class pointed:  # noqa: N801  (a context manager, used as the functions beside it)
    """Show a precise place with the errors that pass, unless they have one already; None has no place to add.

    A place that takes time to find is given as a function, which is called for errors only.
    """

    __slots__ = ("_span",)

    def __init__(self, span: Span | Callable[[], Span | None] | None) -> None:
        self._span = span

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProgramError):
            error.point(self._span() if callable(self._span) else self._span)


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Add a location to the errors that pass."""
    try:
        yield
    except ProgramError as error:
        error.locate(place)
        raise


def _position(diagnostic: Diagnostic) -> int:
    return diagnostic.span.start if diagnostic.span is not None else -1


MOST = 200
"""After so many errors no more are looked for: each is compared with all names for a suggestion."""


class ErrorCollector:
    """Collects errors so that work goes on after the first. ``on_first`` is called once, when there is one.

    The first error is the one that BuildKit stops at; the others come after it in `raise_first`.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self.errors: list[ProgramError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep an error instead of letting it pass."""
        try:
            yield
        except ProgramError as error:
            self.keep(error)

    def keep(self, error: ProgramError) -> None:
        """Keep an error.

        Raises:
            ProgramError: the first one, if there are too many to be of use.
        """
        if not self.errors:
            self._on_first()
        self.errors.append(error)
        if len(self.errors) >= MOST:
            self.raise_first()

    def raise_first(self, later: Callable[[], Iterable[Diagnostic]] = tuple) -> None:
        """Raise the first error, if there is one, with the others and what ``later`` finds behind it.

        Raises:
            ProgramError: the first one that was kept.
        """
        if self.errors:
            first, *rest = self.errors
            first.add([one for error in rest for one in error.diagnostics])
            first.add(islice(later(), MOST))
            raise first
