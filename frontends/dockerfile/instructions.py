# SPDX-License-Identifier: Apache-2.0
"""Typed instructions: what each node of the generic tree means, before anything is expanded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from frontends.dockerfile import errors
from frontends.dockerfile.ast import Heredoc, Node, ParsedFile
from frontends.dockerfile.durations import parse_duration
from frontends.dockerfile.flags import Flags
from frontends.dockerfile.lexer import KEYWORDS
from frontends.dockerfile.lines import heredoc_of
from grammar import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    """``ARG``: names with their defaults; None has none."""

    node: Node
    args: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """``ENV`` or ``LABEL``; ``legacy`` is the form without ``=``."""

    node: Node
    pairs: tuple[tuple[str, str], ...]
    legacy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """``COPY`` or ``ADD``. ``contents`` are the heredocs among the sources, by the word that names them."""

    node: Node
    sources: tuple[str, ...]
    dest: str
    contents: tuple[tuple[str, Heredoc], ...]
    flags: Flags

    @property
    def is_add(self) -> bool:
        """Whether this is ``ADD``."""
        return self.node.keyword == "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``RUN``, ``CMD`` or ``ENTRYPOINT``; ``shell`` is the form that a shell runs."""

    node: Node
    args: tuple[str, ...]
    shell: bool
    flags: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """``EXPOSE``, ``VOLUME``, ``SHELL``, ``WORKDIR``, ``USER``, ``STOPSIGNAL`` or ``MAINTAINER``."""

    node: Node
    words: tuple[str, ...]

    @property
    def word(self) -> str:
        """The only word of those that have one."""
        return self.words[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """``HEALTHCHECK``; ``config`` has the keys of the image config."""

    node: Node
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild:
    """``ONBUILD``: ``expression`` is kept for the images built on this one."""

    node: Node
    expression: str


Instruction: TypeAlias = Arg | Pairs | Copy | Command | Words | Health | Onbuild


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage; ``name`` is in lower case, "" if it has none."""

    node: Node
    base: str
    name: str
    platform: str
    commands: list[Instruction] = field(default_factory=list)


def parse_stages(file: ParsedFile) -> tuple[list[Stage], list[Arg]]:
    """Return the stages and the global arguments.

    Raises:
        DiagnosticError: instructions are wrong; as many as can be found are told at once.
    """
    stages: list[Stage] = []
    global_args: list[Arg] = []
    for node in file.nodes:
        if node.keyword == "from":
            stages.append(_from(node))
            continue
        found = parse_instruction(node)
        if stages:
            stages[-1].commands.append(found)
        elif isinstance(found, Arg):
            global_args.append(found)
        else:
            raise errors.no_stage(node)
    return stages, global_args


def parse_instruction(node: Node) -> Instruction:
    """Return what a node means.

    Raises:
        DiagnosticError: it is no instruction, or its flags or arguments are wrong.
    """
    parser = _PARSERS.get(node.keyword)
    if parser is None:
        lower = node.value == node.value.lower()
        known = [word.lower() for word in KEYWORDS] if lower else list(KEYWORDS)
        raise errors.parse_error(
            node, f"unknown instruction: {node.value}", suggestion=nearest(node.value, sorted(known))
        )
    return parser(node)


_STAGE_NAME = re.compile(r"^[a-z][a-z0-9-_.]*$")


def _from(node: Node) -> Stage:
    words = node.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.match(name):
            raise errors.parse_error(
                node,
                f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols',
            )
    elif len(words) != 1:
        raise errors.parse_error(
            node, "FROM requires either one or three arguments", hint="FROM image [AS name]"
        )
    flags = Flags.read(node, strings=("platform",))
    return Stage(node=node, base=words[0], name=name, platform=flags.get("platform"))


def _arg(node: Node) -> Arg:
    Flags.read(node)
    if not node.words:
        raise errors.parse_error(node, "ARG requires at least one argument")
    args: list[tuple[str, str | None]] = []
    for word in node.words:
        key, equals, value = word.partition("=")
        if equals and not key:
            raise errors.parse_error(node, "ARG names can not be blank")
        args.append((key, value if equals else None))
    return Arg(node=node, args=tuple(args))


def _pairs(node: Node) -> Pairs:
    Flags.read(node)
    name = node.keyword.upper()
    if not node.words:
        raise errors.parse_error(node, f"{name} requires at least one argument")
    triples = [node.words[i : i + 3] for i in range(0, len(node.words), 3)]
    if any(not key for key, _, _ in triples):
        raise errors.parse_error(node, f"{name} names can not be blank")
    return Pairs(
        node=node,
        pairs=tuple((key, value) for key, value, _ in triples),
        legacy=any(not separator for _, _, separator in triples),
    )


def _copy(node: Node) -> Copy:
    name = node.keyword.upper()
    strings = ["chown", "chmod"] + (["from"] if name == "COPY" else ["checksum"])
    booleans = ["link"] + (["parents"] if name == "COPY" else ["keep-git-dir", "unpack"])
    flags = Flags.read(node, strings=strings, booleans=booleans, lists=("exclude",))
    words = node.words
    if not words:
        raise errors.parse_error(node, f"{name} requires at least one argument")
    if len(words) < 2:
        raise errors.parse_error(
            node,
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined",
            hint=f"{name} source ... destination",
        )
    *sources, dest = words
    if node.heredocs and heredoc_of(dest) is not None:
        raise errors.parse_error(node, f"{name} cannot accept a heredoc as a destination")
    documents = list(node.heredocs)
    kept, contents = [], []
    for word in sources:
        if documents and heredoc_of(word) is not None:
            contents.append((word, documents.pop(0)))
        else:
            kept.append(word)
    return Copy(node=node, sources=tuple(kept), dest=dest, contents=tuple(contents), flags=flags)


def _run(node: Node) -> Command:
    flags = Flags.read(node, strings=("network", "security"), lists=("mount", "device"))
    network, security = flags.get("network"), flags.get("security")
    if flags.has("network") and network not in ("default", "none", "host"):
        raise errors.parse_error(
            node, f'invalid network mode "{network}"', hint="modes are default, none, host"
        )
    if flags.has("security") and security not in ("sandbox", "insecure"):
        raise errors.parse_error(node, f'security "{security}" is not valid', hint="use sandbox or insecure")
    for mount in flags.all("mount"):
        if re.search(r"(?:^|,)from=[^,]*\$", mount):
            raise errors.parse_error(
                node, "'from' doesn't support variable expansion, define alias stage instead"
            )
    return _command(node, flags)


def _plain_command(node: Node) -> Command:
    return _command(node, Flags.read(node))


def _command(node: Node, flags: Flags) -> Command:
    return Command(node=node, args=node.words, shell=not node.json, flags=flags)


def _one_word(node: Node) -> Words:
    Flags.read(node)
    if len(node.words) != 1:
        raise errors.parse_error(node, f"{node.keyword.upper()} requires exactly one argument")
    return Words(node=node, words=node.words)


def _words(node: Node) -> Words:
    Flags.read(node)
    if not node.words:
        raise errors.parse_error(node, f"{node.keyword.upper()} requires at least one argument")
    if node.keyword == "volume" and any(not word.strip() for word in node.words):
        raise errors.parse_error(node, "VOLUME specified can not be an empty string")
    return Words(
        node=node, words=tuple(w.strip() for w in node.words) if node.keyword == "volume" else node.words
    )


def _shell(node: Node) -> Words:
    Flags.read(node)
    if node.words and not node.json:
        raise errors.parse_error(
            node, "SHELL requires the arguments to be in JSON form", hint='SHELL ["/bin/bash", "-c"]'
        )
    if not node.words:
        raise errors.parse_error(node, "SHELL requires at least one argument")
    return Words(node=node, words=node.words)


def _health(node: Node) -> Health:
    if not node.words:
        raise errors.parse_error(node, "HEALTHCHECK requires at least one argument")
    names = ("interval", "timeout", "start-period", "start-interval", "retries")
    flags = Flags.read(node, strings=names)
    kind, rest = node.words[0].upper(), node.words[1:]
    if kind == "NONE":
        if rest:
            raise errors.parse_error(node, "HEALTHCHECK NONE takes no arguments")
        return Health(node=node, config={"Test": ["NONE"]})
    if kind != "CMD":
        raise errors.parse_error(node, f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not rest:
        raise errors.parse_error(node, "Missing command after HEALTHCHECK CMD")
    config: dict[str, object] = {"Test": ["CMD" if node.json else "CMD-SHELL", *rest]}
    for name, key in zip(names[:4], ("Interval", "Timeout", "StartPeriod", "StartInterval"), strict=True):
        if value := _duration(node, name, flags.get(name)):
            config[key] = value
    if flags.get("retries"):
        try:
            retries = int(flags.get("retries"))
        except ValueError:
            message = f'strconv.ParseInt: parsing "{flags.get("retries")}": invalid syntax'
            raise errors.parse_error(node, message) from None
        if retries < 0:
            raise errors.parse_error(node, f"--retries cannot be negative ({retries})")
        if retries:
            config["Retries"] = retries
    return Health(node=node, config=config)


def _duration(node: Node, name: str, text: str) -> int:
    if not text:
        return 0
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise errors.parse_error(node, str(error)) from None
    if value and value < 1_000_000:
        raise errors.parse_error(node, f'Interval "{name}" cannot be less than 1ms')
    return value


_ONBUILD = re.compile(r"^\s*ONBUILD\s*", re.IGNORECASE)


def _onbuild(node: Node) -> Onbuild:
    Flags.read(node)
    child = node.child
    if child is None:
        raise errors.parse_error(node, "ONBUILD requires at least one argument")
    trigger = child.value.upper()
    if trigger == "ONBUILD":
        raise errors.parse_error(node, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise errors.parse_error(node, f"{trigger} isn't allowed as an ONBUILD trigger")
    expression = _ONBUILD.sub("", node.original)
    for heredoc in node.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(node=node, expression=expression)


_PARSERS: Mapping[str, Callable[[Node], Instruction]] = {
    "add": _copy,
    "arg": _arg,
    "cmd": _plain_command,
    "copy": _copy,
    "entrypoint": _plain_command,
    "env": _pairs,
    "expose": _words,
    "healthcheck": _health,
    "label": _pairs,
    "maintainer": _one_word,
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _one_word,
    "user": _one_word,
    "volume": _words,
    "workdir": _one_word,
}


def chomp(content: str) -> str:
    """Return a heredoc's content without the tabs that its lines begin with."""
    return re.sub(r"^\t+", "", content, flags=re.MULTILINE)
