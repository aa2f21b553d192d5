# SPDX-License-Identifier: Apache-2.0
"""The frontend that a program asks for: ``# syntax=``, or the build argument BUILDKIT_SYNTAX, which comes first.

As in BuildKit, whoever reads a program hands the build on, as a solve request like any other. Which frontend answers to
the name is decided by the engine behind the bridge, for all languages alike.
"""

from __future__ import annotations

from llbkit.frontends.base import Bridge, BuildResult, NoFrontendError, SolveRequest
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.frontends.kit.errors import texts as errors
from llbkit.grammar import Source, Span

ARGUMENT = "BUILDKIT_SYNTAX"
FORWARDED = "cmdline"
"""The option of a build that was handed on: what was asked for. Nobody hands it on again."""


async def handed_on(bridge: Bridge, source: Source) -> BuildResult | None:
    """Return the answer of the frontend that is asked for by name; None if none is, or if the build was handed on already.

    Raises:
        ProgramError: the frontend is not installed.
        grammar.DiagnosticError: the other frontend raises it.
    """
    if FORWARDED in bridge.options:
        return None
    span: Span | None = None
    argument = bridge.options.get(f"build-arg:{ARGUMENT}")
    if argument is not None:
        text = argument
    else:
        directive = detect_syntax(source)
        if directive is None:
            return None
        text, span = directive.value, directive.span
    words = text.split()
    name = words[0] if words else ""
    written = f"{ARGUMENT}={text}" if argument is not None else f"syntax={text}"
    if not name:
        raise errors.no_frontend("", written, "", span)
    request = SolveRequest(
        frontend=name, options={**bridge.options, FORWARDED: text}, inputs=await bridge.inputs()
    )
    try:
        return await bridge.solve(request)
    except NoFrontendError as error:
        if error.name != name:
            raise
        raise errors.no_frontend(name, written, error.diagnostics[0].help, span) from None
