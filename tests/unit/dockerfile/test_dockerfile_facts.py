# SPDX-License-Identifier: Apache-2.0
"""What reading and lowering tell, in which order and with which ranges, to somebody who is no rule."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.base import Bridge
from llbkit.frontends.dockerfile import facts as known
from llbkit.frontends.dockerfile.facts import (
    ArgDeclared,
    BaseResolved,
    ContextCopied,
    DefaultBase,
    FromVariableUnset,
    InstructionFact,
    InstructionRead,
    InstructionSeen,
    MountSeen,
    PairSet,
    ParserWarned,
    PlatformExpanded,
    PortExposed,
    ProcessSet,
    StageNamed,
    TargetLowered,
    TriggerRead,
    VariableUnset,
    WordExpanded,
    WorkdirEntered,
)
from llbkit.frontends.dockerfile.lower.convert import Request, convert
from llbkit.frontends.dockerfile.lower.epoch import SourceTimes
from llbkit.frontends.dockerfile.options import FILENAME, read_options
from llbkit.frontends.dockerfile.program.programs import read_program
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.images import Images
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.program import ProgramFile
from llbkit.frontends.kit.lint.facts import Fact
from llbkit.grammar import Source

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())
FILE = ProgramFile(name=FILENAME, language="Dockerfile", noun="dockerfile", spelling="dockerfile")


class Everything:
    """Hears all facts, and notes what they say at once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.failures = 0

    def wants(self, kind: type[Fact]) -> bool:
        return True

    def failed(self) -> None:
        self.failures += 1

    def tell(self, fact: Fact) -> None:
        place = fact.place
        lines = f"{place.lines[0][0]}-{place.lines[-1][1]}" if place.lines else ""
        self.told.append((type(fact).__name__, lines, said(fact)))


def shown(text: str) -> str:
    """Return a word as its range shows it."""
    span = where(text)
    return f"{span.start_line}:{span.start_column} {span.text}" if span is not None else f"({text})"


def said(fact: Fact) -> str:  # noqa: C901  (one line for each kind)
    match fact:
        case ParserWarned(warning):
            return repr([span.text for span in warning.blank])
        case InstructionSeen(node, keyword):
            return f"{keyword} {shown(node.value)}"
        case InstructionRead(instruction, keyword):
            return f"{type(instruction).__name__} {keyword}"
        case TriggerRead(_, trigger):
            return f"{fact.keyword} {shown(trigger.keyword)}"
        case StageNamed(stage):
            return stage.name
        case DefaultBase(_, name):
            return name
        case FromVariableUnset() | VariableUnset():
            return (
                f"{fact.name} {fact.span.start_line}:{fact.span.start_column} {fact.span.text}"
                if fact.span
                else ""
            )
        case PlatformExpanded(stage, expansion):
            return f"{shown(stage.platform)} {expansion.text}"
        case BaseResolved(stage, name):
            return f"{shown(stage.base)} {name}"
        case WordExpanded(word=word, expansion=expansion):
            return f"{shown(word)} {expansion.text!r}"
        case ArgDeclared(key=key):
            return shown(key)
        case PairSet(pair=pair, key=key):
            return f"{shown(pair.key)} {key} {shown(pair.value)}"
        case ProcessSet(earlier=earlier, has_shell=has_shell):
            return f"{earlier is not None} {has_shell}"
        case PortExposed(port=port, word=word):
            return f"{shown(word)} {port.text}"
        case WorkdirEntered(path=path, first=first):
            return f"{path} {first}"
        case ContextCopied(source=source, word=word):
            return f"{shown(word)} {source}"
        case TargetLowered(_, state, platform, needed):
            graph = state.graph(platform=platform)
            return f"{len(graph)} {[stage.name for stage in needed]}"
        case MountSeen(mount=mount):
            return f"{mount.type} {mount.span('target').text} {mount.target}"
    return ""


async def _told(text: str, hearer: Everything) -> None:
    bridge: Bridge = RecordedBridge({"dockerfile": text}, IMAGES)
    options = read_options(bridge)
    contexts = Contexts(bridge, options, FILE)
    source = await contexts.text()
    file = parse(source.source)
    program = read_program(file, hearer)
    request = Request(
        file=file,
        program=program,
        text=source,
        bridge=bridge,
        contexts=contexts,
        options=options,
        images=Images(bridge, contexts),
        times=SourceTimes(bridge),
        facts=hearer,
    )
    await convert(request, None)


TEXT = """\
ARG V=3.20
FROM --platform=$BUILDPLATFORM alpine:$V$W AS base
ARG A
WORKDIR w/$A
ENV K="$A \\

  x" L=$U
RUN --mount=type=cache,target="/c/$K" make <<E
  all
E
COPY a$K <<-D /$U/
\t\tq $U
\tD
EXPOSE $A 80/TCP
CMD x
CMD ["y"]
"""
EXPECTED = [
    ("ParserWarned", "7-7", r"['\n']"),
    ("InstructionSeen", "1-1", "arg 1:0 ARG"),
    ("InstructionRead", "1-1", "Arg arg"),
    ("InstructionSeen", "2-2", "from 2:0 FROM"),
    ("InstructionRead", "2-2", "Stage from"),
]


LOWERED = [
    ("StageNamed", "2-2", "base"),
    ("ProgramRead", "", ""),
    ("DefaultBase", "2-2", "alpine:3.20"),
    ("FromVariableUnset", "2-2", "W 2:40 $W"),
    ("PlatformExpanded", "2-2", "2:16 $BUILDPLATFORM linux/amd64"),
    ("BaseResolved", "2-2", "2:31 alpine:$V$W alpine:3.20"),
    ("ArgDeclared", "3-3", "3:4 A"),
    ("WordExpanded", "4-4", "4:8 w/$A 'w/'"),
    ("VariableUnset", "4-4", "A 4:10 $A"),
    ("WorkdirEntered", "4-4", "w/ True"),
    ("WordExpanded", "5-7", "5:4 K 'K'"),
    ("WordExpanded", "5-7", "5:6 \"$A \\\n\n  x\" '   x'"),
    ("VariableUnset", "5-7", "A 5:7 $A"),
    ("WordExpanded", "5-7", "7:5 L 'L'"),
    ("WordExpanded", "5-7", "7:7 $U ''"),
    ("VariableUnset", "5-7", "U 7:7 $U"),
    ("PairSet", "5-7", '5:4 K K 5:6 "$A \\\n\n  x"'),
    ("PairSet", "5-7", "7:5 L L 7:7 $U"),
    ("WordExpanded", "8-10", "8:17 cache 'cache'"),
    ("WordExpanded", "8-10", "8:31 /c/$K '/c/   x'"),
    ("MountSeen", "8-10", 'cache target="/c/$K /c/   x'),
    ("WordExpanded", "11-13", "11:5 a$K 'a   x'"),
    ("WordExpanded", "11-13", "11:14 /$U/ '//'"),
    ("VariableUnset", "11-13", "U 11:15 $U"),
    ("WordExpanded", "11-13", "12:0 \t\tq $U\n 'q \\n'"),
    ("VariableUnset", "11-13", "U 12:4 $U"),
    ("ContextCopied", "11-13", "11:5 a$K a   x"),
    ("PortExposed", "14-14", "14:10 80/TCP 80/TCP"),
    ("ProcessSet", "15-15", "False False"),
    ("ProcessSet", "16-16", "True False"),
    ("TargetLowered", "2-2", "6 ['base']"),
]


def test_what_is_told_while_a_file_is_read() -> None:
    hearer = Everything()
    read_program(parse(Source("Dockerfile", TEXT)), hearer)
    assert hearer.told[:5] == EXPECTED
    assert [fact[2].split()[0] for fact in hearer.told[5::2]] == [
        "arg", "workdir", "env", "run", "copy", "expose", "cmd", "cmd",
    ]  # fmt: skip


def test_what_is_told_while_a_file_is_lowered() -> None:
    hearer = Everything()
    asyncio.run(_told(TEXT, hearer))
    assert [fact for fact in hearer.told if not fact[0].startswith(("Instruction", "Parser"))] == LOWERED
    assert hearer.failures == 0


TRIGGER = ("TriggerRead", "2-2", "run 2:8 Run")


def test_what_is_told_of_triggers() -> None:
    hearer = Everything()
    read_program(parse(Source("Dockerfile", "FROM a\nONBUILD Run x\nONBUILD COPY\n")), hearer)
    assert hearer.told[4:] == [
        TRIGGER,
        ("InstructionSeen", "3-3", "onbuild 3:0 ONBUILD"),
        ("InstructionRead", "3-3", "Onbuild onbuild"),
    ]


def test_mistakes_are_told_once() -> None:
    hearer = Everything()
    with pytest.raises(Exception, match="unknown instruction"):
        read_program(parse(Source("Dockerfile", "FROM scratch\nFOO\nBAR\n")), hearer)
    assert hearer.failures == 1


def test_every_fact_is_in_the_test() -> None:
    kinds = {
        name
        for name, value in vars(known).items()
        if isinstance(value, type)
        and issubclass(value, Fact)
        and value not in (Fact, InstructionFact, known.StepFact)
    }
    told = {name for name, *_ in (*EXPECTED, *LOWERED, TRIGGER)}
    assert kinds - told == {"BaseUnresolved"}, "which test_dockerfile_offline.py shows"
