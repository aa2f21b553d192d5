# SPDX-License-Identifier: Apache-2.0
"""What an error of the Dockerfile language is, and how it gets its places on the way up.

As in BuildKit, each caller that knows an instruction adds that instruction's location. Beside it an error has the exact
place to show, if whoever raised it or passed it on knows one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from frontends.dockerfile.places import Place
from grammar import Diagnostic, DiagnosticError, Span


class DockerfileError(DiagnosticError):
    """An error in a Dockerfile or in what it is built with.

    ``locations`` are the places it was located at, innermost first. A precise ``span`` is shown in their stead.
    """

    def __init__(
        self, message: str, *, code: str = "dockerfile", hint: str = "", span: Span | None = None
    ) -> None:
        self.locations: tuple[Place, ...] = ()
        self._precise = span is not None
        super().__init__(
            Diagnostic(code=code, message=message, spans=(span,) if span is not None else (), help=hint)
        )

    def locate(self, place: Place, *, replace_all: bool = False) -> DockerfileError:
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

    def prefixed(self, prefix: str) -> DockerfileError:
        """Put words before the message."""
        first = self.diagnostics[0]
        self.diagnostics = (replace(first, message=prefix + first.message), *self.diagnostics[1:])
        self.args = (self.diagnostics[0].message,)
        return self


@contextmanager
def pointed(span: Span | None) -> Iterator[None]:
    """Show a precise place with the errors that pass, unless they have one already; None has no place to add."""
    try:
        yield
    except DockerfileError as error:
        error.point(span)
        raise


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Add a location to the errors that pass."""
    try:
        yield
    except DockerfileError as error:
        error.locate(place)
        raise
