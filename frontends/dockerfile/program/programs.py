# SPDX-License-Identifier: Apache-2.0
"""A parsed file to a program: its stages with their instructions, and its global arguments."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.errors.later import later_errors
from llbkit.frontends.dockerfile.facts import InstructionRead, InstructionSeen, ParserWarned, TriggerRead
from llbkit.frontends.dockerfile.program.instructions import AnyInstruction, Arg, Onbuild, Program, Stage
from llbkit.frontends.dockerfile.program.reading import read_instruction, read_stage
from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.kit.errors.located import ErrorCollector, ProgramError
from llbkit.frontends.kit.lint.facts import Facts


def read_program(file: ParsedFile, facts: Facts) -> Program:
    """Return the stages and global arguments of a file; ``facts`` hears of its instructions in their order.

    Raises:
        ProgramError: an instruction is unknown, or its flags or arguments are wrong; with all others that are.
    """
    for warning in file.warnings:
        facts.tell(ParserWarned(warning))
    heads: list[tuple[Stage, list[AnyInstruction]]] = []
    global_args: list[Arg] = []
    collector = ErrorCollector(facts.failed)
    for node in file.nodes:
        try:
            found = _read_any(node, facts)
        except ProgramError as error:
            first = not collector.errors
            collector.keep((error.prefixed(_prefix(node)) if first else error).locate(node.place))
            if node.keyword == "from":
                heads.append((_unread_stage(node), []))
            continue
        if isinstance(found, Stage):
            heads.append((found, []))
        elif heads:
            heads[-1][1].append(found)
        elif isinstance(found, Arg):
            global_args.append(found)
        else:
            collector.keep(errors.no_current_stage().locate(node.place))
            heads.append((_unread_stage(node), []))
    stages = tuple(_with_commands(stage, commands) for stage, commands in heads)
    collector.raise_first(lambda: later_errors(stages))
    return Program(stages=stages, args=tuple(global_args))


def _unread_stage(node: Node) -> Stage:
    """Return a stage to read on with, for a FROM that is wrong or missing."""
    return Stage(keyword=node.value, code="", place=node.place, base="")


def _prefix(node: Node) -> str:
    return f"dockerfile parse error on line {node.span.start_line}: "


def _with_commands(stage: Stage, commands: list[AnyInstruction]) -> Stage:
    return replace(stage, commands=tuple(commands))


def _read_any(node: Node, facts: Facts) -> AnyInstruction | Stage:
    keyword = node.keyword
    facts.tell(InstructionSeen(node, keyword))
    found = read_stage(node) if keyword == "from" else read_instruction(node)
    facts.tell(InstructionRead(found, keyword))
    if isinstance(found, Onbuild) and facts.wants(TriggerRead):
        assert node.child is not None, "there is none without"
        with suppress(ProgramError):
            facts.tell(TriggerRead(found, read_instruction(node.child)))
    return found
