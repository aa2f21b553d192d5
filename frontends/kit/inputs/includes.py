# SPDX-License-Identifier: Apache-2.0
"""Files that a program includes: each read once, from where the program came from, with spans of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import field

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.grammar import Source, Span
from llbkit.llb.builder.options import SourceText
from llbkit.records import dataclass

MOST_FILES = 1000
"""How many files one program may include."""


@dataclass(slots=True)
class Includes:
    """The texts of one program, the one that was asked for first."""

    contexts: Contexts
    _texts: dict[str, SourceText] = field(default_factory=dict)
    _by: dict[str, str] = field(default_factory=dict)

    async def program(self) -> SourceText:
        """Return the text of the program itself. Raises ProgramError: there is none."""
        text = await self.contexts.text()
        self._texts.setdefault(text.source.name, text)
        return text

    async def read(self, path: str, span: Span) -> Source:
        """Return the file that ``span`` includes; ``path`` starts from the folder of the file that says so.

        Raises:
            ProgramError: it does not exist, lies outside, includes itself, is not UTF-8, or is one too many.
        """
        asking = span.source.name
        name = posixpath.normpath(posixpath.join(posixpath.dirname(asking), path))
        if path.startswith("/") or name.split("/")[0] == "..":
            raise errors.include_outside(path, span)
        chain = self._chain(asking)
        if name in chain:
            raise errors.include_circle([*reversed(chain[: chain.index(name) + 1]), name], span)
        if name not in self._texts:
            if len(self._texts) > MOST_FILES:
                raise errors.too_many_includes(MOST_FILES, span)
            try:
                self._texts[name] = await self.contexts.beside(name)
            except (FileNotFoundError, IsADirectoryError):
                raise errors.no_include(name, span) from None
            self._by[name] = asking
            if (error := errors.not_text(self._texts[name].source)) is not None:
                raise error
        return self._texts[name].source

    def _chain(self, name: str) -> list[str]:
        """Return a file, the one that included it first, and so on to the program."""
        chain = [name]
        while chain[-1] in self._by:
            chain.append(self._by[chain[-1]])
        return chain

    @property
    def texts(self) -> Sequence[SourceText]:
        """All that was read, in order, the program first."""
        return tuple(self._texts.values())

    def text_of(self, source: Source) -> SourceText:
        """Return the text that a source is of."""
        found = self._texts.get(source.name)
        return found if found is not None and found.source is source else SourceText(source)
