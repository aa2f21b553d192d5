# SPDX-License-Identifier: Apache-2.0
"""Further errors of a file that already failed, as far as they show without lowering it or resolving images.

BuildKit stops at the first error. So that a file is mended in one go, the rest is looked through here for what later
steps would refuse. Words with variables are left alone, since what they will be is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.program.chmod import read_mode
from llbkit.frontends.dockerfile.program.instructions import (
    AnyInstruction,
    Copy,
    Expose,
    Run,
    Stage,
    StopSignal,
)
from llbkit.frontends.dockerfile.program.mounts import read_mount
from llbkit.frontends.dockerfile.program.ports import ports_checked
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.errors.located import MOST, ProgramError, pointed
from llbkit.frontends.kit.errors.suggest import suggest
from llbkit.frontends.kit.values.ports import PortWord
from llbkit.frontends.kit.values.signals import is_signal, likely_signal
from llbkit.grammar import Diagnostic


def later_errors(stages: Sequence[Stage]) -> Iterator[Diagnostic]:
    """Yield what is wrong with the instructions of these stages, and names that look like misspelt stages."""
    names = _Names()
    for stage in stages:
        yield from names.misspelt(stage.base)
        for command in stage.commands:
            yield from _command(command, names)
        if stage.name:
            names.add(stage.name)


class _Names:
    """The stages so far. Not more than some unknown names are compared with them, and each name with each stage once."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._order: list[str] = []
        self._compared: dict[str, tuple[int, str]] = {}

    def add(self, name: str) -> None:
        """Add a stage."""
        self._known[name] = None
        self._order.append(name)

    def misspelt(self, name: str) -> Iterator[Diagnostic]:
        """Yield a warning about a name that is not a stage's, but close to one's: it would be asked for as an image."""
        wanted = name.lower()
        if not name or "$" in name or wanted in self._known or len(self._compared) > MOST:
            return
        count, close = self._compared.get(wanted, (0, ""))
        close = close or suggest(wanted, self._order[count:])
        self._compared[wanted] = (len(self._order), close)
        if close:
            yield errors.misspelt_stage(name, close, where(name))


def _command(command: AnyInstruction, names: _Names) -> Iterator[Diagnostic]:
    for check in _checks(command):
        try:
            check()
        except ProgramError as error:
            yield from error.locate(command.place).diagnostics
    match command:
        case Copy():
            yield from names.misspelt(command.source_stage)
        case Run():
            for mount in command.mounts:
                yield from names.misspelt(mount.source_stage)


def _checks(command: AnyInstruction) -> Iterator[Callable[[], object]]:
    match command:
        case Run():
            for mount in command.mounts:
                if "$" not in mount.value:
                    yield partial(read_mount, mount.value, _as_it_is)
        case Copy() if "$" not in command.chmod:
            yield partial(command.flags.checked, "chmod", read_mode)
        case Expose():
            for word in command.ports:
                if not _expands(word):
                    yield partial(_port, word)
        case StopSignal() if not _expands(command.signal):
            yield partial(_signal, command)


def _expands(text: str) -> bool:
    return any(char in text for char in "$'\"\\`")


def _as_it_is(text: str) -> str:
    return text


def _port(word: str) -> None:
    with pointed(partial(where, word)), ports_checked():
        PortWord.cut(word).container_ports()


def _signal(command: StopSignal) -> None:
    if not is_signal(command.signal):
        with pointed(partial(where, command.signal)):
            raise errors.signal(command.signal, likely_signal(command.signal))
