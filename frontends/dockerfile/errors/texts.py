# SPDX-License-Identifier: Apache-2.0
"""The errors of the Dockerfile language: BuildKit's text as the message, our next step as the help.

Every message has one named constructor here. An error is raised where it is found and gets its place on the way up,
as in BuildKit: each caller that knows an instruction adds that instruction's location.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.errors.suggest import did_you_mean, suggest
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.values.modes import ModeError
from llbkit.grammar import Diagnostic, Span

REFERENCE = "reference"
_UNNAMED = re.compile(r"stage-\d+")


def _names(words: Iterable[str], what: str) -> str:
    known = ", ".join(words)
    return f"{what}: {known}" if known else ""


# -- the file


def empty_file() -> ProgramError:
    """The file has no content."""
    return ProgramError("the Dockerfile cannot be empty", code="empty", hint="begin with FROM image")


def no_stages() -> ProgramError:
    """The file has no FROM."""
    return ProgramError(
        "dockerfile contains no stages to build", code="no-stage", hint="begin with FROM image"
    )


def no_current_stage() -> ProgramError:
    """An instruction other than ARG stands before the first FROM."""
    return ProgramError(
        "no build stage in current context",
        code="no-stage",
        hint="only ARG may stand before the first FROM: begin with FROM image",
    )


# -- the form of instructions


def _likeness(word: str) -> Callable[[str], tuple[bool, bool, str]]:
    """Return a key by which, of equally near words, the likelier ones come first: swapped letters, the same start."""
    letters = sorted(word.upper())
    return lambda known: (sorted(known) != letters, known[:1] != word[:1].upper(), known)


def unknown_instruction(word: str, known: Iterable[str], span: Span) -> ProgramError:
    """Unknown instruction. The help names the likeliest of several equally close ones."""
    names = sorted(known)
    close = suggest(word, names, case_sensitive=False)
    likely = suggest(word, sorted(names, key=_likeness(word)), case_sensitive=False)
    hint = f"write {likely}" if likely == close else f"write {likely}, or {close}"
    return ProgramError(
        f"unknown instruction: {word}" + (f" (did you mean {close}?)" if close else ""),
        code="unknown-instruction",
        span=span,
        hint=hint if close else "to continue an instruction, end the line before with the escape character",
    )


def unknown_flag(name: str, known: Iterable[str], span: Span) -> ProgramError:
    """An instruction has no flag of that name."""
    flags = sorted(known)
    return ProgramError(
        f"unknown flag: --{name}{did_you_mean(name, flags)}",
        code="unknown-flag",
        span=span,
        hint=_names((f"--{flag}" for flag in flags), "valid flags") or "this instruction has no flags",
    )


def flag(message: str, span: Span, hint: str = "") -> ProgramError:
    """A flag is repeated, or has no value or a wrong one."""
    return ProgramError(message, code="flag", span=span, hint=hint)


def network(mode: str, known: Iterable[str]) -> ProgramError:
    """``--network`` names no mode."""
    modes = list(known)
    close = suggest(mode, modes)
    hint = f"write --network={close}" if close else _names(modes, "valid modes")
    return ProgramError(f"invalid network mode {go_quote(mode)}", code="flag", hint=hint)


def security(mode: str, known: Iterable[str]) -> ProgramError:
    """``--security`` names no mode."""
    modes = list(known)
    close = suggest(mode, modes)
    hint = f"write --security={close}" if close else _names(modes, "valid modes")
    return ProgramError(f"security {go_quote(mode)} is not valid", code="flag", hint=hint)


def arguments(message: str, hint: str = "") -> ProgramError:
    """An instruction has too few, too many or the wrong kind of arguments."""
    return ProgramError(message, code="arguments", hint=hint)


def stage_name(name: str) -> ProgramError:
    """A stage name is malformed."""
    return ProgramError(
        f"invalid name for build stage: {go_quote(name)}, name can't start with a number or contain symbols",
        code="stage-name",
        hint="use letters, digits, '-', '_' and '.', and begin with a letter",
    )


def word(message: str) -> ProgramError:
    """A word cannot be expanded."""
    return ProgramError(message, code="expansion")


def too_much() -> ProgramError:
    """The expansion of the file exceeds the size limit."""
    return ProgramError(
        "variable expansion exceeds the size limit of a build",
        code="too-much",
        hint="look for variables that repeat other variables, such as ENV A=$A$A",
    )


# -- stages


def misspelt_stage(name: str, close: str, span: Span | None) -> Diagnostic:
    """A name close to a stage's. It may be an image, so this is a warning."""
    return Diagnostic(
        code="stage-name",
        message=f"unknown stage {name} (did you mean {close}?)",
        spans=(span,) if span is not None else (),
        severity="warning",
        help=f"write {close}",
    )


def blank_base(written: str) -> ProgramError:
    """The base of a stage is empty after expansion."""
    return ProgramError(
        f"base name ({written}) should not be blank",
        code="blank-base",
        hint="give the ARG before FROM a default, or pass --build-arg",
    )


def reference(name: str, cause: str, hint: str = "") -> ProgramError:
    """A base or ``--from`` is not a valid image reference."""
    return ProgramError(f"failed to parse stage name {go_quote(name)}: {cause}", code=REFERENCE, hint=hint)


def empty_platform(written: str, unmatched: Iterable[str], known: Iterable[str]) -> ProgramError:
    """The platform of a stage is empty after expansion."""
    return ProgramError(
        f"empty platform value from expression {written}{_first_suggestion(unmatched, known)}",
        code="platform",
        hint="TARGETPLATFORM and BUILDPLATFORM are always set; declare other variables with ARG before FROM",
    )


def platform(
    written: str, cause: str, unmatched: Iterable[str], known: Iterable[str], names: Iterable[str]
) -> ProgramError:
    """The platform of a stage is malformed; ``names`` are those of systems and architectures."""
    message = f"failed to parse platform {written}: {cause}{_first_suggestion(unmatched, known)}"
    close = suggest(written, sorted(names))
    hint = "write os/architecture[/variant], for example linux/arm64"
    return ProgramError(message, code="platform", hint=f"did you mean {close}? {hint}" if close else hint)


def _first_suggestion(unmatched: Iterable[str], known: Iterable[str]) -> str:
    options = list(known)
    for name in sorted(unmatched):
        if found := did_you_mean(name, options):
            return found
    return ""


def no_target(name: str, known: list[str]) -> ProgramError:
    """The wanted stage does not exist."""
    return ProgramError(
        f"target stage {go_quote(name)} could not be found{did_you_mean(name, known)}",
        code="no-target",
        hint=_names((stage for stage in known if not _UNNAMED.fullmatch(stage)), "defined stages")
        or "this file has no named stages; name one with FROM image AS name",
    )


def stage_index(index: int, count: int) -> ProgramError:
    """A stage number is out of range."""
    return ProgramError(
        f"invalid stage index {index}", code="stage-index", hint=f"stages are numbered 0 to {count - 1}"
    )


def from_variable() -> ProgramError:
    """``COPY --from`` holds a variable."""
    return ProgramError(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a "
        "workaround",
        code="from-variable",
        hint="write FROM $NAME AS alias, then --from=alias",
    )


def circular(stage: str) -> ProgramError:
    """A stage needs itself."""
    return ProgramError(
        f"circular dependency detected on stage: {stage}",
        code="circular",
        hint="a stage can only use stages that are defined before it",
    )


def copy_before(source: str, stage: str) -> ProgramError:
    """A stage copies from one that comes later."""
    return ProgramError(
        f"cannot copy from stage {go_quote(source)}, it needs to be defined before current stage {go_quote(stage)}",
        code="stage-order",
        hint="move that stage above this one",
    )


def mount_before(source: str, target: str) -> ProgramError:
    """A stage mounts one that comes later."""
    return ProgramError(
        f"cannot mount from stage {go_quote(source)} to {go_quote(target)}, stage needs to be defined before current "
        "command",
        code="stage-order",
        hint="move that stage above this one",
    )


def onbuild_trigger() -> ProgramError:
    """A trigger of a base image is more than one instruction."""
    return ProgramError("onbuild trigger should be a single expression", code="onbuild")


# -- instructions


def chmod(cause: ModeError) -> ProgramError:
    """A mode is neither octal nor symbolic, or too large."""
    hint = "symbolically --chmod=u=rwX,go=rX" if cause.symbolic else "--chmod=u=rwX,go=rX"
    return ProgramError(str(cause), code="chmod", hint=f"write --chmod=755, or {hint}")


def checksum(message: str) -> ProgramError:
    """``--checksum`` is used where it cannot be, or is malformed."""
    return ProgramError(
        message, code="checksum", hint="--checksum requires ADD with a single HTTP(S) or git source"
    )


def windows_path(message: str) -> ProgramError:
    """A path of a Windows image cannot be used."""
    return ProgramError(message, code="path", hint="paths in Windows images must be on drive C:")


def mount(message: str, hint: str = "", *, span: Span | None = None) -> ProgramError:
    """An option of ``--mount`` is wrong."""
    return ProgramError(message, code="mount", hint=hint, span=span)


def mount_key(key: str, field: str, known: Iterable[str]) -> ProgramError:
    """``--mount`` has no option of that name."""
    keys = list(known)
    return mount(
        f"unexpected key '{key}' in '{field}'{did_you_mean(key, keys)}", _names(keys, "valid options")
    )


def mount_pair(text: str, known: Iterable[str]) -> ProgramError:
    """An option stands without a value, and is none that may."""
    close = suggest(text, known)
    return mount(f"invalid field '{text}' must be a key=value pair", f"write {close or text or 'key'}=value")


def mount_order(key: str, kind: str) -> ProgramError:
    """An option does not belong to the mount's type as far as it is known where the option stands."""
    return mount(
        f"unexpected key '{key}' for mount type '{kind}'",
        "options are read in order: put type= first, and check that the type supports this option",
    )


def mount_target(target: str) -> ProgramError:
    """A mount has no target, or covers the root."""
    return mount(f"invalid mount target {go_quote(target)}", "write target=PATH")


def device(message: str, hint: str = "") -> ProgramError:
    """``--device`` is wrong, or not offered by this frontend."""
    return ProgramError(message, code="device", hint=hint)


def signal(name: str, close: str) -> ProgramError:
    """``STOPSIGNAL`` names no signal; ``close`` is the nearest one, if one is near."""
    hint = f"write {close}" if close else "for example SIGTERM or 15"
    return ProgramError(f"invalid signal: {name}", code="signal", hint=hint)


def port(message: str) -> ProgramError:
    """``EXPOSE`` names no port."""
    return ProgramError(message, code="port", hint="for example EXPOSE 80, 53/udp or 8000-8010")


def epoch_stage(what: str) -> ProgramError:
    """The stage that ``SOURCE_DATE_EPOCH`` names is not one that only loads a source."""
    return ProgramError(
        f"SOURCE_DATE_EPOCH stage {what}",
        code="epoch",
        hint="name a stage with FROM scratch and a single ADD of one HTTP(S) or git source",
    )
