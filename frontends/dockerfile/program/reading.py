# SPDX-License-Identifier: Apache-2.0
"""Nodes to typed instructions: the number and form of arguments and flags are checked, nothing is expanded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.program.health import read_retries, read_time
from llbkit.frontends.dockerfile.program.instructions import (
    AnyInstruction,
    Arg,
    Cmd,
    CommandLine,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Inline,
    Label,
    Maintainer,
    MountFlag,
    Onbuild,
    Pair,
    Run,
    Shell,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from llbkit.frontends.dockerfile.program.mounts import mount_from, read_device
from llbkit.frontends.dockerfile.syntax.ast import Node
from llbkit.frontends.dockerfile.syntax.flags import Flags
from llbkit.frontends.dockerfile.syntax.lexer import KEYWORDS
from llbkit.frontends.dockerfile.syntax.lines import heredoc_of
from llbkit.frontends.dockerfile.syntax.words import Form, Word
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.grammar.patterns.match import SPACE

_NETWORKS, _SECURITIES = ("default", "none", "host"), ("sandbox", "insecure")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


def read_instruction(node: Node) -> AnyInstruction:
    """Return what a node other than FROM means.

    Raises:
        ProgramError: not an instruction, or its flags or arguments are wrong.
    """
    reader = _READERS.get(node.keyword)
    if reader is None:
        raise errors.unknown_instruction(node.value, KEYWORDS, node.value.span)
    return reader(node)


def _head(node: Node) -> dict[str, Any]:
    """Return the fields that every instruction has."""
    return {
        "keyword": node.value,
        "code": node.original.strip(SPACE),
        "place": node.place,
        "comments": node.prev_comment,
        "node": node,
    }


def read_stage(node: Node) -> Stage:
    """Return what a FROM means, without the instructions that follow. Raises ProgramError."""
    words = node.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise errors.stage_name(words[2])
    elif len(words) != 1:
        raise errors.arguments("FROM requires either one or three arguments", "write FROM image [AS name]")
    flags = Flags.read(node, strings=("platform",))
    return Stage(
        **_head(node),
        flags=flags,
        base=words[0],
        name=name,
        platform=flags.get("platform"),
    )


def read_arg(node: Node) -> Arg:
    """Return what an ARG means. Raises ProgramError."""
    if not node.words:
        raise errors.arguments("ARG requires at least one argument", "write ARG name[=default] ...")
    args: list[tuple[Word, Word | None]] = []
    for word in node.words:
        key, equals, _ = word.partition("=")
        if equals and not key:
            raise errors.arguments("ARG names can not be blank")
        args.append((word.part(0, len(key)), word.part(len(key) + 1) if equals else None))
    return Arg(**_head(node), args=tuple(args))


def _pairs(node: Node) -> tuple[Pair, ...]:
    name = node.keyword.upper()
    Flags.read(node)
    if not node.words:
        raise errors.arguments(f"{name} requires at least one argument", f"write {name} key=value ...")
    words = iter(node.words)
    pairs = tuple(
        Pair(key=key, value=value, legacy=not separator)
        for key, value, separator in zip(words, words, words, strict=True)
    )
    if any(not pair.key for pair in pairs):
        raise errors.arguments(f"{name} names can not be blank")
    return pairs


def _env(node: Node) -> Env:
    return Env(**_head(node), pairs=_pairs(node))


def _label(node: Node) -> Label:
    return Label(**_head(node), pairs=_pairs(node))


def _copy(node: Node) -> Copy:
    name = node.keyword.upper()
    if len(node.words) < 2:
        raise errors.arguments(
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined",
            f"write {name} source ... destination",
        )
    is_add = name == "ADD"
    flags = Flags.read(
        node,
        strings=("chown", "chmod", "checksum") if is_add else ("chown", "chmod", "from"),
        booleans=("link", "keep-git-dir", "unpack") if is_add else ("link", "parents"),
        lists=("exclude",),
    )
    *sources, dest = node.words
    if heredoc_of(dest) is not None:
        raise errors.arguments(
            f"{name} cannot accept a heredoc as a destination",
            "put the destination last",
        )
    bodies = {heredoc.name: heredoc.content for heredoc in node.heredocs}
    paths: list[str] = []
    contents: list[Inline] = []
    for word in sources:
        mark = heredoc_of(word)
        if mark is None:
            paths.append(word)
            continue
        _, chomps, title, expands = mark
        body = bodies.get(title)  # none in the exec form
        data = "" if body is None else chomp(body) if chomps else body
        contents.append(Inline(name=title, data=data, expand=expands))
    return Copy(
        **_head(node),
        flags=flags,
        is_add=is_add,
        sources=tuple(paths),
        dest=dest,
        contents=tuple(contents),
        source_stage=flags.get("from"),
        chown=flags.get("chown"),
        chmod=flags.get("chmod"),
        checksum=flags.get("checksum"),
        link=flags.on("link"),
        parents=flags.on("parents"),
        keep_git_dir=flags.choice("keep-git-dir"),
        unpack=flags.choice("unpack"),
        exclude=flags.all("exclude"),
    )


def chomp(content: str) -> str:
    """Return a heredoc's content without the tabs that its lines begin with; a word keeps its place."""
    text = re.sub(r"^\t+", "", content, flags=re.MULTILINE)
    if not isinstance(content, Word):
        return text
    return Word(text, content.line, content.start, content.end, Form.CHOMPED)


def _run(node: Node) -> Run:
    flags = Flags.read(node, strings=("network", "security"), lists=("mount", "device"))
    devices = tuple(read_device(value) for value in flags.all("device"))
    mounts = tuple(MountFlag(value, mount_from(value)) for value in flags.all("mount"))
    return Run(
        **_head(node),
        flags=flags,
        line=_line(node, node.words),
        files=tuple(
            Inline(name=h.name, data=h.content, expand=h.expand, chomp=h.chomp) for h in node.heredocs
        ),
        mounts=mounts,
        devices=devices,
        network=flags.checked("network", _network, "default"),
        security=flags.checked("security", _security, "sandbox"),
    )


def _network(text: str) -> str:
    if text not in _NETWORKS:
        raise errors.network(text, _NETWORKS)
    return text


def _security(text: str) -> str:
    if text not in _SECURITIES:
        raise errors.security(text, _SECURITIES)
    return text


def _line(node: Node, words: tuple[str, ...]) -> CommandLine:
    if node.json or len(words) < 2:
        return CommandLine(words=words, shell=not node.json)
    return CommandLine(words=(" ".join(words),), shell=True)


def _cmd(node: Node) -> Cmd:
    Flags.read(node)
    return Cmd(**_head(node), line=_line(node, node.words))


def _entrypoint(node: Node) -> Entrypoint:
    Flags.read(node)
    return Entrypoint(**_head(node), line=_line(node, node.words))


def _healthcheck(node: Node) -> Healthcheck:
    if not node.words:
        raise errors.arguments(
            "HEALTHCHECK requires at least one argument",
            "write HEALTHCHECK [flags] CMD command, or HEALTHCHECK NONE",
        )
    first, *rest = node.words
    kind = first.upper()
    if kind == "NONE":
        if rest:
            raise errors.arguments("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(**_head(node), test=("NONE",))
    times = ("interval", "timeout", "start-period", "start-interval")
    flags = Flags.read(node, strings=(*times, "retries"))
    if kind != "CMD":
        raise errors.arguments(
            f"Unknown type {go_quote(kind)} in HEALTHCHECK (try CMD)",
            "write CMD or NONE",
        )
    line = _line(node, tuple(rest))
    if not line.words:
        raise errors.arguments("Missing command after HEALTHCHECK CMD")
    interval, timeout, start_period, start_interval = (
        flags.checked(name, partial(read_time, name)) for name in times
    )
    return Healthcheck(
        **_head(node),
        test=("CMD-SHELL" if line.shell else "CMD", *line.words),
        interval=interval,
        timeout=timeout,
        start_period=start_period,
        start_interval=start_interval,
        retries=flags.checked("retries", read_retries),
    )


_ONBUILD = re.compile(r"^\s*ONBUILD\s*", re.IGNORECASE)


def _onbuild(node: Node) -> Onbuild:
    child = node.child
    if child is None:
        raise errors.arguments("ONBUILD requires at least one argument", "write ONBUILD instruction ...")
    Flags.read(node)
    trigger = child.value.strip(SPACE).upper()
    if trigger == "ONBUILD":
        raise errors.arguments("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise errors.arguments(f"{trigger} isn't allowed as an ONBUILD trigger")
    expression = _ONBUILD.sub("", node.original)
    for heredoc in node.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(**_head(node), expression=expression)


def _expose(node: Node) -> Expose:
    return Expose(**_head(node), ports=tuple(sorted(_some(node))))


def _volume(node: Node) -> Volume:
    paths = tuple(word.stripped(SPACE) for word in _some(node))
    if not all(paths):
        raise errors.arguments("VOLUME specified can not be an empty string")
    return Volume(**_head(node), paths=paths)


def _some(node: Node) -> tuple[Word, ...]:
    if not node.words:
        raise errors.arguments(f"{node.keyword.upper()} requires at least one argument")
    Flags.read(node)
    return node.words


def _one(node: Node, *, flags: bool = True) -> str:
    """Return the one argument; ``flags`` False: BuildKit does not look at the flags of this instruction."""
    if len(node.words) != 1:
        raise errors.arguments(f"{node.keyword.upper()} requires exactly one argument")
    if flags:
        Flags.read(node)
    return node.words[0]


def _shell(node: Node) -> Shell:
    Flags.read(node)
    if not node.words:
        raise errors.arguments("SHELL requires at least one argument", 'write SHELL ["/bin/bash", "-c"]')
    if not node.json:
        raise errors.arguments(
            "SHELL requires the arguments to be in JSON form",
            'write SHELL ["/bin/bash", "-c"]',
        )
    return Shell(**_head(node), words=node.words)


_READERS: Mapping[str, Callable[[Node], AnyInstruction]] = {
    "add": _copy,
    "arg": read_arg,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": lambda node: Maintainer(**_head(node), name=_one(node)),
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": lambda node: StopSignal(**_head(node), signal=_one(node, flags=False)),
    "user": lambda node: User(**_head(node), user=_one(node)),
    "volume": _volume,
    "workdir": lambda node: Workdir(**_head(node), path=_one(node)),
}
