# SPDX-License-Identifier: Apache-2.0
"""The fenced code blocks of the documents, and what can be checked of them without running them."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from llbkit.cli.buildx import DockerCommand
from llbkit.cli.main import cli
from llbkit.records import dataclass

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*) *(?:\{(?P<attributes>.*)\})?$")
_SEPARATORS = re.compile(r"[|&;()<>]+")
_ASSIGNMENT = re.compile(r"\w+=")


@dataclass(frozen=True)
class Snippet:
    """A fenced block. ``norun`` is the reason for which it is not run; "" if it is."""

    page: Path
    line: int
    language: str
    text: str
    title: str = ""
    norun: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """Return the fenced blocks of a page in order."""
    found = []
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if "```" not in line:
            continue
        fence = _FENCE.match(line)
        assert fence is not None, f"{page.name}:{number}: not a fence: {line!r}"
        indent = fence["indent"]
        body = []
        for _, inner in lines:
            if inner == f"{indent}```":
                break
            body.append(inner.removeprefix(indent) + "\n")
        else:
            raise AssertionError(f"{page.name}:{number}: the block has no end")
        given = dict(word.split("=", 1) for word in shlex.split(fence["attributes"] or ""))
        norun, title = given.pop("data-norun", ""), given.pop("title", "")
        assert not given, f"{page.name}:{number}: unknown attributes {given}"
        found.append(Snippet(page, number, fence["language"], "".join(body), title, norun))
    return found


def shell_text(snippet: Snippet) -> str:
    """Return the commands of a block: of a console, the lines after ``$`` (``>`` continues one)."""
    if snippet.language != "console":
        return snippet.text
    return "".join(line[2:] + "\n" for line in snippet.text.splitlines() if line.startswith(("$ ", "> ")))


def transcript(snippet: Snippet) -> Iterator[tuple[str, str]]:
    """Return the commands of a console with what each prints."""
    command, output = "", ""
    for line in snippet.text.splitlines(keepends=True):
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        elif line.startswith("> "):
            command += line[2:]
        else:
            output += line
    yield command, output


def check_shell(text: str) -> None:
    """Check a shell text's syntax, and each llbkit command line in it against the command line's own parser.

    Raises:
        AssertionError: it is wrong.
    """
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in command_lines(text):
        if words[0] == "llbkit":
            check_command_line(words[1:])
        elif words[:3] == ["python", "-m", "llbkit"]:
            check_command_line(words[3:])


def command_lines(text: str) -> Iterator[list[str]]:
    """Return the words of each simple command, without assignments before it and redirections after it."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if set(word) <= set("<>&") and set(word) & set("<>"):
                redirected = True
            elif _SEPARATORS.fullmatch(word):
                if words:
                    yield words
                words, redirected = [], False
            elif redirected:
                redirected = False
            elif words or not _ASSIGNMENT.match(word):
                words.append(word)


def check_command_line(words: list[str]) -> None:
    """Check that the commands and flags of an llbkit command line exist. Values are not looked at.

    Raises:
        AssertionError: one does not.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="llbkit")
    rest = words
    try:
        while isinstance(command, click.Group):
            _, rest, _ = command.make_parser(context).parse_args(list(rest))
            if not rest:
                return
            _, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command, context = found, click.Context(found, info_name=found.name, parent=context)
        if isinstance(command, DockerCommand):
            switches = {name for one in command.params if getattr(one, "is_flag", False) for name in one.opts}
            rest = [word.partition("=")[0] if word.partition("=")[0] in switches else word for word in rest]
        command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        raise AssertionError(f"llbkit {' '.join(words)}: {error.format_message()}") from error


def check_python(text: str) -> None:
    """Check the syntax of Python, ``await`` outside of functions included.

    Raises:
        SyntaxError: it is wrong.
    """
    compile(text, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
