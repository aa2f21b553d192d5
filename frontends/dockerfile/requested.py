# SPDX-License-Identifier: Apache-2.0
"""The frontend a Dockerfile requests: ``# syntax=``, or the build argument BUILDKIT_SYNTAX, which comes first.

As in BuildKit, whoever reads a Dockerfile hands it on to the frontend it names. ``docker/dockerfile`` in any version is
answered here; other names are Python packages with an entry point (`llbkit.frontends.registry`).
"""

from __future__ import annotations

from collections.abc import Mapping

from llbkit.frontends import registry
from llbkit.frontends.base import Frontend
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.syntax.directives import detect_syntax
from llbkit.grammar import DiagnosticError, Source, Span

ARGUMENT = "BUILDKIT_SYNTAX"
_FORWARDED = "cmdline"  # the attribute of a build that another frontend has handed on already


def asked_for(options: Mapping[str, str], source: Source) -> Frontend | None:
    """Return the frontend that is asked for by name; None if none is, or if the build was handed on already.

    Raises:
        ProgramError: the frontend is not installed.
    """
    if _FORWARDED in options:
        return None
    span: Span | None = None
    argument = options.get(f"build-arg:{ARGUMENT}")
    if argument is not None:
        text = argument
    else:
        directive = detect_syntax(source)
        if directive is None:
            return None
        text, span = directive.value, directive.span
    words = text.split()
    name = words[0] if words else ""
    try:
        return registry.load(name)
    except DiagnosticError as error:
        written = f"{ARGUMENT}={text}" if argument is not None else f"syntax={text}"
        raise errors.no_frontend(name, written, error.diagnostics[0].help, span) from None
