# SPDX-License-Identifier: Apache-2.0
"""One generated build as data: what can be taken out of it one by one, written as JSON, and laid out on disk."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Self

from llbkit.records import dataclass
from tests.fuzz.builds.archives import Member, make_archive

PAST = 1_600_000_000_123_456_789
"""When the files of a context were last changed, in nanoseconds, unless an entry says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of a context. ``target`` is a symbolic link's text, or the path of the entry that a hard link joins."""

    path: str
    kind: str = "file"
    data: str = ""
    mode: int = 0o644
    mtime: int = PAST
    target: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()
    compression: str = ""
    members: tuple[Member, ...] = ()
    tail: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """An instruction. The lines of a heredoc stand in its body."""

    verb: str
    flags: tuple[str, ...] = ()
    body: str = ""

    @property
    def text(self) -> str:
        return " ".join((self.verb, *self.flags, self.body)).rstrip(" ")

    def words(self) -> list[str]:
        """Return the sources and the destination of a COPY or ADD in either form; none of other steps and heredocs."""
        if self.verb not in ("COPY", "ADD") or "<<" in self.body:
            return []
        if not self.body.startswith("["):
            return self.body.split(" ")
        try:
            return json.loads(self.body)
        except ValueError:
            return []  # a wildcard, or what neither engine takes for JSON


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A FROM and what follows it."""

    base: str
    name: str = ""
    flags: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens between the first build and the second. A step is changed by ``path`` = ``stage/step``."""

    kind: str
    path: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A build, perhaps followed by a change and a second build. ``{registry}``, ``{http}`` and ``{git}`` stand for services."""

    name: str
    stages: tuple[Stage, ...]
    heads: tuple[str, ...] = ()
    context: tuple[Entry, ...] = ()
    ignore: tuple[str, ...] = ()
    named: tuple[tuple[str, tuple[Entry, ...]], ...] = ()
    options: tuple[tuple[str, ...], ...] = ()
    change: Change | None = None

    def dockerfile(self) -> str:
        """Return the text, services not yet filled in."""
        lines = list(self.heads)
        for stage in self.stages:
            name = f" AS {stage.name}" if stage.name else ""
            lines.append(" ".join(("FROM", *stage.flags, stage.base + name)))
            lines += [step.text for step in stage.steps]
        return "\n".join(lines) + "\n"

    def encode(self) -> str:
        """Return the case as JSON that `decode` reads."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=True)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote."""
        raw = json.loads(text)
        change = raw["change"]
        return cls(
            name=raw["name"],
            stages=tuple(
                Stage(
                    base=one["base"],
                    name=one["name"],
                    flags=tuple(one["flags"]),
                    steps=tuple(
                        Step(verb=step["verb"], flags=tuple(step["flags"]), body=step["body"])
                        for step in one["steps"]
                    ),
                )
                for one in raw["stages"]
            ),
            heads=tuple(raw["heads"]),
            context=_entries(raw["context"]),
            ignore=tuple(raw["ignore"]),
            named=tuple((name, _entries(entries)) for name, entries in raw["named"]),
            options=tuple(tuple(option) for option in raw["options"]),
            change=Change(**change) if change else None,
        )

    def smaller(self) -> Iterator[Case]:
        """Yield the cases that lack one thing of this one, the largest things first."""
        if self.change:
            yield replace(self, change=None)
        for at in range(len(self.stages)):
            if len(self.stages) > 1:
                yield replace(self, stages=self.stages[:at] + self.stages[at + 1 :])
        for field_name in ("named", "options", "heads", "ignore"):
            for less in _each_left_out(getattr(self, field_name)):
                yield replace(self, **{field_name: less})
        for at, stage in enumerate(self.stages):
            for less_stage in _smaller_stage(stage):
                yield replace(self, stages=(*self.stages[:at], less_stage, *self.stages[at + 1 :]))
        for entries in _smaller_tree(self.context):
            yield replace(self, context=entries)

    def without_steps(self) -> Iterator[Case]:
        """Yield the cases that lack one step, one flag or source of a step, or one link of the context."""
        for at, stage in enumerate(self.stages):
            for less in _smaller_stage(stage):
                yield replace(self, stages=(*self.stages[:at], less, *self.stages[at + 1 :]))
        for at, entry in enumerate(self.context):
            if entry.kind == "link":
                yield replace(self, context=self.context[:at] + self.context[at + 1 :])

    def changed(self) -> Case:
        """Return the case of the second build as far as its Dockerfile changes."""
        if self.change is None or self.change.kind not in ("step", "drop step"):
            return self
        at, number = map(int, self.change.path.split("/"))
        if at >= len(self.stages) or number >= len(self.stages[at].steps):
            return self
        steps = list(self.stages[at].steps)
        if self.change.kind == "step":
            steps.insert(number, Step(verb="ENV", body=self.change.text))
        else:
            del steps[number]
        stage = replace(self.stages[at], steps=tuple(steps))
        return replace(self, stages=(*self.stages[:at], stage, *self.stages[at + 1 :]))


def _entries(raw: list[dict]) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            **{
                **one,
                "xattrs": tuple((key, value) for key, value in one["xattrs"]),
                "members": tuple(Member(**member) for member in one["members"]),
            }
        )
        for one in raw
    )


def _each_left_out(values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for at in range(len(values)):
        yield values[:at] + values[at + 1 :]


def _smaller_stage(stage: Stage) -> Iterator[Stage]:
    for steps in _each_left_out(stage.steps):
        yield replace(stage, steps=steps)
    for flags in _each_left_out(stage.flags):
        yield replace(stage, flags=flags)
    for at, step in enumerate(stage.steps):
        for flags in _each_left_out(step.flags):
            less = replace(step, flags=flags)
            yield replace(stage, steps=(*stage.steps[:at], less, *stage.steps[at + 1 :]))
        for body in _fewer_sources(step):
            less = replace(step, body=body)
            yield replace(stage, steps=(*stage.steps[:at], less, *stage.steps[at + 1 :]))


def _fewer_sources(step: Step) -> Iterator[str]:
    """Yield the words of a COPY or ADD with one source less, in either form."""
    words = step.words()
    form = json.dumps if step.body.startswith("[") else " ".join
    for kept in _each_left_out(tuple(words[:-1])) if len(words) > 2 else ():
        yield form([*kept, words[-1]])


def _smaller_tree(entries: tuple[Entry, ...]) -> Iterator[tuple[Entry, ...]]:
    for at, one in enumerate(entries):
        rest = entries[:at] + entries[at + 1 :]
        yield tuple(e for e in rest if not e.path.startswith(one.path + "/") and e.target != one.path)
        if one.xattrs:
            yield (*entries[:at], replace(one, xattrs=()), *entries[at + 1 :])
        for members in _each_left_out(one.members):
            yield (*entries[:at], replace(one, members=members), *entries[at + 1 :])


@dataclass
class Laid:
    """Where a case lies on disk."""

    folder: Path
    context: Path
    dockerfile: Path
    named: dict[str, Path] = field(default_factory=dict)


def lay_out(case: Case, folder: Path, services: dict[str, str]) -> Laid:
    """Write the context, the named contexts and the Dockerfile below an empty folder."""
    laid = Laid(folder, folder / "context", folder / "Dockerfile")
    lay_tree(case.context, laid.context)
    if case.ignore:
        (laid.context / ".dockerignore").write_text("\n".join(case.ignore) + "\n")
        _settle_folder_times(case.context, laid.context)
    for name, entries in case.named:
        laid.named[name] = folder / f"named-{name}"
        lay_tree(entries, laid.named[name])
    write_dockerfile(case, laid, services)
    return laid


def write_dockerfile(case: Case, laid: Laid, services: dict[str, str]) -> None:
    laid.dockerfile.write_text(filled(case.dockerfile(), services))


def filled(text: str, services: dict[str, str]) -> str:
    """Return text with the services' addresses in it."""
    for name, address in services.items():
        text = text.replace("{" + name + "}", address)
    return text


def lay_tree(entries: tuple[Entry, ...], root: Path) -> None:
    """Create a folder with the entries, in order; those whose place is taken or whose target is missing are left out."""
    root.mkdir(parents=True)
    for entry in entries:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path) or (entry.kind == "dir" and path.is_dir() and not path.is_symlink()):
            _create(entry, path, root)
    _settle_folder_times(entries, root)


def _create(entry: Entry, path: Path, root: Path) -> None:
    match entry.kind:
        case "file":
            path.write_bytes(entry.data.encode("utf-8", "surrogateescape"))
        case "archive":
            path.write_bytes(make_archive(entry.members, entry.compression, entry.tail))
        case "dir":
            path.mkdir(exist_ok=True)
        case "link":
            path.symlink_to(entry.target)
            os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
            return
        case "hard":
            if (root / entry.target).exists() or (root / entry.target).is_symlink():
                os.link(root / entry.target, path, follow_symlinks=False)
            return
        case "fifo":
            os.mkfifo(path)
        case "socket":
            here = os.getcwd()
            os.chdir(path.parent)
            try:
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(path.name)
            finally:
                os.chdir(here)
        case _:
            raise ValueError(entry.kind)
    os.chmod(path, entry.mode)
    for key, value in entry.xattrs:
        os.setxattr(path, key, bytes.fromhex(value))
    os.utime(path, ns=(entry.mtime, entry.mtime))


def _settle_folder_times(entries: tuple[Entry, ...], root: Path) -> None:
    times = {entry.path: entry.mtime for entry in entries if entry.kind == "dir"}
    for folder, _, _ in os.walk(root, topdown=False):
        name = os.path.relpath(folder, root)
        mtime = times.get(name, PAST)
        os.utime(folder, ns=(mtime, mtime))


def apply_change(change: Change, case: Case, laid: Laid) -> None:
    """Change the context between two builds; changes of steps are `Case.changed`'s."""
    path = laid.context / change.path
    exists = os.path.lexists(path)
    match change.kind:
        case "edit" if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes() + change.text.encode())
        case "touch" if exists:
            os.utime(path, follow_symlinks=False)
        case "mode" if exists and not path.is_symlink():
            os.chmod(path, 0o600 if path.is_file() else 0o711)
        case "remove" if exists:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        case "add":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(change.text)
        case "retarget" if path.is_symlink():
            path.unlink()
            path.symlink_to(change.text)
        case _:
            pass
