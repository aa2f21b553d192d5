# SPDX-License-Identifier: Apache-2.0
"""The stage that SOURCE_DATE_EPOCH names: ``FROM scratch`` and one ADD of one HTTP or git source.

It is read apart from the stage as it is built: neither files nor other instructions count, only what is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.lower.steps.copy import filename_of
from llbkit.frontends.dockerfile.program.instructions import Arg, Copy, Stage
from llbkit.frontends.dockerfile.program.words import Mode, WordError, expand
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.errors.located import ProgramError, pointed
from llbkit.frontends.kit.images import SCRATCH
from llbkit.frontends.kit.inputs import gitref
from llbkit.llb import git, http
from llbkit.llb.builder.state import State
from llbkit.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StageArgs:
    """What the words of the stage see: the global and predefined arguments, those of the build, and how words are read."""

    known: Mapping[str, str]
    build_args: Mapping[str, str]
    mode: Mode


def source_of_stage(stage: Stage, args: StageArgs) -> State:
    """Return what the stage loads.

    Raises:
        ProgramError: located at the stage's FROM, shown where it is; it is not such a stage, or a word is malformed.
    """
    try:
        return _source(stage, args)
    except ProgramError as error:
        raise error.locate(stage.place, replace_all=True) from None


def _source(stage: Stage, args: StageArgs) -> State:
    known = dict(args.known)
    with pointed(partial(where, stage.base)):
        if _expanded(stage.base, known, args.mode) != SCRATCH:
            raise errors.epoch_stage("must use FROM scratch")
    add: Copy | None = None
    for command in stage.commands:
        with pointed(command.span):
            if isinstance(command, Arg):
                _declare(command, known, args)
            elif not (isinstance(command, Copy) and command.is_add):
                raise errors.epoch_stage(
                    f"does not meet source-only requirements: unsupported {command.keyword} instruction"
                )
            elif add is not None:
                raise errors.epoch_stage("must contain exactly one remote ADD")
            else:
                add = command
    if add is None:
        raise errors.epoch_stage("must contain exactly one remote ADD")
    with pointed(add.span):
        return _source_of_add(add, known, args.mode)


def _declare(command: Arg, known: dict[str, str], args: StageArgs) -> None:
    for word, default in command.args:
        key = str(word)
        value = args.build_args.get(key)
        if value is None and default is not None:
            value = _expanded(default, known, args.mode)
        if value is not None:
            known[key] = value


def _source_of_add(add: Copy, known: Mapping[str, str], mode: Mode) -> State:
    if add.contents or len(add.sources) != 1:
        raise errors.epoch_stage("must contain exactly one remote ADD source")
    words = (add.chown, add.checksum, add.chmod, *add.sources, add.dest)
    _, checksum, _, source, _ = (_expanded(word, known, mode) for word in words)
    return _remote(add, source, checksum)


def _remote(add: Copy, source: str, checksum: str) -> State:
    try:
        found = None if source.startswith("github.com/") else gitref.parse(source)
    except ProgramError:
        found = None  # an address of git that contradicts itself is one of HTTP here
    if found is not None:
        return git(
            found.remote,
            ref=found.ref,
            subdir=found.subdir,
            checksum=checksum or found.checksum,
            keep_git_dir=bool(add.keep_git_dir or found.keep_git_dir),
            skip_submodules=found.submodules is False,
        )
    if not gitref.is_http(source):
        raise errors.epoch_stage("source must be a single HTTP(S) or Git ADD")
    return http(source, filename=filename_of(source), checksum=checksum)


def _expanded(word: str, known: Mapping[str, str], mode: Mode) -> str:
    try:
        return expand(word, known, mode).text
    except WordError as error:
        raise errors.word(str(error)) from None
