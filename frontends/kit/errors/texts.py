# SPDX-License-Identifier: Apache-2.0
"""The errors that any language may run into: BuildKit's text as the message, our next step as the help.

Every message has one named constructor here, as those of a language have in its own ``errors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.errors.suggest import did_you_mean, suggest
from llbkit.frontends.kit.golang.quote import UNDECODED, go_quote
from llbkit.grammar import Source, Span


def no_frontend(name: str, written: str, known: str, span: Span | None) -> ProgramError:
    """The file or the build requests an unknown frontend; ``written`` is how, ``known`` lists the installed ones."""
    if not name:
        return ProgramError(
            f"{written} does not name a frontend",
            code="no-frontend",
            hint="name a frontend or omit it",
            span=span,
        )
    return ProgramError(
        f"{written}: frontend images are not supported yet, and no frontend named {name} is installed",
        code="no-frontend",
        hint=f"omit it or use docker/dockerfile:1 for the built-in frontend; {known}",
        span=span,
    )


def no_file(noun: str, name: str, cause: str) -> ProgramError:
    """The program does not exist; ``noun`` is what its language calls one."""
    return ProgramError(
        f"failed to read {noun}: {cause}",
        code=f"no-{noun.replace(' ', '-')}",
        hint=f"create {name} in the build context, or choose another file with --file",
    )


def not_text(source: Source) -> ProgramError | None:
    """The file holds a byte that is not UTF-8, in a language that allows none; None if it holds none."""
    found = None if source.text.isascii() else UNDECODED.search(source.text)
    if found is None:
        return None
    return ProgramError(
        f"{source.name} is not UTF-8: invalid byte 0x{ord(found[0]) & 0xFF:02x}",
        code="utf-8",
        hint="save the file as UTF-8",
        span=source.span(*found.span()),
    )


def not_utf8(byte: int, span: Span | None) -> ProgramError:
    """A text that goes into the graph as it is written holds a byte that is not UTF-8."""
    return ProgramError(
        "failed to marshal LLB definition: string field contains invalid UTF-8",
        code="utf-8",
        hint=f"save the file as UTF-8; to produce the raw byte, have the shell print it: $(printf '\\{byte:03o}')",
        span=span,
    )


def not_found(name: str, cause: str, known: Iterable[str], hint: str = "") -> ProgramError:
    """An image cannot be resolved; it may be a misspelt stage name."""
    return ProgramError(f"{name}: {cause}{did_you_mean(name, known)}", code="image", hint=hint)


def no_include(name: str, span: Span) -> ProgramError:
    """A file that the program includes does not exist."""
    return ProgramError(
        f"cannot include {name}: no such file",
        code="include",
        hint="paths start from the folder of the file that includes",
        span=span,
    )


def include_outside(path: str, span: Span) -> ProgramError:
    """A file that the program includes lies outside of what the program was sent with."""
    return ProgramError(
        f"cannot include {path}: it is outside the folder of the program",
        code="include",
        hint="move it there, and include it by a relative path",
        span=span,
    )


def include_circle(names: Sequence[str], span: Span) -> ProgramError:
    """A file includes itself, through others or not."""
    return ProgramError(
        f"circular include: {' includes '.join(names)}", code="include", hint="remove one of them", span=span
    )


def too_many_includes(most: int, span: Span) -> ProgramError:
    """The program includes more files than there may be."""
    return ProgramError(f"a program may include {most:,} files", code="include", span=span)


def image_name(name: str, cause: str, hint: str = "") -> ProgramError:
    """A base is not a valid image reference."""
    return ProgramError(f"invalid image reference {go_quote(name)}: {cause}", code="reference", hint=hint)


def image_config(cause: str) -> ProgramError:
    """The config of a base image cannot be read."""
    return ProgramError(
        f"failed to parse image config: {cause}",
        code="image-config",
        hint="the image is damaged or not a container image: rebuild and push it",
    )


def no_target(name: str, known: Sequence[str]) -> ProgramError:
    """The wanted target does not exist, or none is wanted and there is no default."""
    targets = f"defined targets: {', '.join(known)}" if known else "this file has no targets"
    if not name:
        return ProgramError(
            "no target to build", code="no-target", hint=f"choose one with --target; {targets}"
        )
    message = f"target {go_quote(name)} could not be found{did_you_mean(name, known)}"
    return ProgramError(message, code="no-target", hint=targets)


def duplicate_target(name: str, first: Place) -> ProgramError:
    """Two targets have one name."""
    where = f" on line {first.lines[0][0]}" if first.lines else ""
    return ProgramError(
        f"target {go_quote(name)} is already defined{where}",
        code="duplicate-target",
        hint="rename one of them",
    )


def circular(names: Sequence[str]) -> ProgramError:
    """Targets need each other."""
    return ProgramError(
        f"circular dependency: {' needs '.join(names)}",
        code="circular",
        hint="a target cannot stand on or copy from one that needs it",
    )


def source(message: str, hint: str = "") -> ProgramError:
    """A source of COPY or ADD cannot be used."""
    return ProgramError(message, code="source", hint=hint)


def option(message: str, hint: str = "") -> ProgramError:
    """An option of the build is malformed."""
    return ProgramError(message, code="option", hint=hint)


def ignore_pattern(cause: str) -> ProgramError:
    """A pattern of the ignore file is malformed."""
    return ProgramError(
        cause, code="ignore", hint="look for an unclosed '[' or a trailing '\\' in .dockerignore"
    )


def ignore_link(path: str, target: str) -> ProgramError:
    """The ignore file is a link that leads to no file of the context."""
    return ProgramError(
        f"{path} is a symbolic link to {target}, which is not a file in the build context",
        code="ignore",
        hint="copy the file into the context: without it, every file would be included",
    )


def epoch(value: str) -> ProgramError:
    """``SOURCE_DATE_EPOCH`` is neither a number nor names anything."""
    return option(
        f"invalid SOURCE_DATE_EPOCH: {value}",
        "use seconds since 1970, context, or the name of a context or stage",
    )


def context(message: str, hint: str = "") -> ProgramError:
    """A named context cannot be used."""
    return ProgramError(
        message,
        code="context",
        hint=hint or "use a directory, docker-image://, oci-layout://, input:, or a git or HTTP URL",
    )


def lint_violations(rules: Iterable[str]) -> ProgramError:
    """Rules fired, and the file or the build asks for an error then."""
    return ProgramError(
        f"lint violation found for rules: {', '.join(rules)}",
        code="lint",
        hint="fix the warnings, or remove error=true from the check options",
    )


def check_option(text: str, *, value: str | None = None) -> ProgramError:
    """A ``check`` option is unknown or has a wrong value."""
    hint = "options are skip=all|RULE,..., experimental=all|RULE,... and error=true|false, separated by ';'"
    if value is not None:
        message = f"failed to parse check option {go_quote(text)}: strconv.ParseBool: parsing {go_quote(value)}: invalid syntax"
        return ProgramError(message, code="check-option", hint=hint)
    close = suggest(text.partition("=")[0], ("skip", "experimental", "error"))
    return ProgramError(
        f"invalid check option {go_quote(text)}",
        code="check-option",
        hint=f"did you mean {close}? {hint}" if close else hint,
    )
