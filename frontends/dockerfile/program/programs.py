# SPDX-License-Identifier: Apache-2.0
"""A parsed file to a program: its stages with their instructions, and its global arguments."""

from __future__ import annotations

from dataclasses import replace

from llbkit.frontends.dockerfile.check.check import Linter
from llbkit.frontends.dockerfile.check.rules import (
    from_as_casing,
    invalid_definition_description,
    maintainer_deprecated,
    stage_name_casing,
)
from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.errors.later import later_errors
from llbkit.frontends.dockerfile.program.instructions import AnyInstruction, Arg, Program, Stage
from llbkit.frontends.dockerfile.program.reading import read_arg, read_instruction, read_stage
from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.kit.errors.located import ErrorCollector, ProgramError
from llbkit.frontends.kit.errors.places import Place


def read_program(file: ParsedFile, lint: Linter) -> Program:
    """Return the stages and global arguments of a file.

    Raises:
        ProgramError: an instruction is unknown, or its flags or arguments are wrong; with all others that are.
    """
    heads: list[tuple[Stage, list[AnyInstruction]]] = []
    global_args: list[Arg] = []
    collector = ErrorCollector(lint.findings.mute)
    for node in file.nodes:
        try:
            found = _read_any(node, lint)
        except ProgramError as error:
            first = not collector.errors
            collector.keep(
                (error.prefixed(_prefix(node)) if first else error).locate(Place.covering(node.span))
            )
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
            collector.keep(errors.no_current_stage().locate(Place.covering(node.span)))
            heads.append((_unread_stage(node), []))
    stages = tuple(_with_commands(stage, commands) for stage, commands in heads)
    collector.raise_first(lambda: later_errors(stages))
    return Program(stages=stages, args=tuple(global_args))


def _unread_stage(node: Node) -> Stage:
    """Return a stage to read on with, for a FROM that is wrong or missing."""
    return Stage(keyword=node.value, code="", place=Place.covering(node.span), base="")


def _prefix(node: Node) -> str:
    return f"dockerfile parse error on line {node.span.start_line}: "


def _with_commands(stage: Stage, commands: list[AnyInstruction]) -> Stage:
    return replace(stage, commands=tuple(commands))


def _read_any(node: Node, lint: Linter) -> AnyInstruction | Stage:
    lint = lint.with_comments(node.prev_comment)
    place = Place.covering(node.span)
    match node.keyword:
        case "from":
            stage_name_casing.check(lint, node.words, place)
            from_as_casing.check(lint, node.value, node.words, place)
            stage = read_stage(node)
            names = (stage.name,) if stage.name else ()
            invalid_definition_description.check(lint, "FROM", names, node.prev_comment, place)
            return stage
        case "maintainer":
            maintainer_deprecated.check(lint, place)
        case "arg":
            arg = read_arg(node)
            keys = [key for key, _ in arg.args]
            invalid_definition_description.check(lint, "ARG", keys, node.prev_comment, place)
            return arg
    return read_instruction(node)
