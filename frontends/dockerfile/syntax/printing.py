# SPDX-License-Identifier: Apache-2.0
"""The generic tree back to text, one line for each instruction: for formatters, and for languages that write Dockerfiles.

What is printed parses to the same tree again, places apart. White space, continuations and comments that belong to no
instruction are not in the tree; quotes of flags are written again. Only an instruction that no line can hold is continued.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from llbkit.frontends.dockerfile.syntax.ast import Node, ParsedFile
from llbkit.frontends.dockerfile.syntax.directives import is_directive
from llbkit.frontends.dockerfile.syntax.lexer import KEYWORDS
from llbkit.frontends.dockerfile.syntax.lines import MOST_BYTES, heredocs_of
from llbkit.frontends.dockerfile.syntax.words import of_byte_runes
from llbkit.grammar.patterns.match import SPACE

_PAIRS = ("env", "label")
_LISTS = ("add", "copy", "volume", "expose", "from", "arg")
_NOT_PLAIN = re.compile(f"[{SPACE}\x85\xa0'\"\\\\]")
_BARE = "\v"
"""White space that is not JSON's, and after which no line goes on."""


def print_file(file: ParsedFile) -> str:
    r"""Return the text of a whole file: its directives, then each instruction with its comments and heredocs.

    ``parse(Source("Dockerfile", print_file(file)))`` gives the same directives, escape character and nodes, but for their
    places and ``original``. The text ends with a line end, and printing what it parses to gives it again.

    >>> from llbkit.frontends.dockerfile.syntax.parse import parse
    >>> from llbkit.grammar import Source
    >>> print_file(parse(Source("Dockerfile", "from a \\\n  as b\nRUN [ 'x' ]\nCMD [ \"x\" ]")))
    'from a as b\nRUN [ \'x\' ]\nCMD ["x"]\n'
    """
    head = [
        _held(f"# {directive.name}={directive.value}", f"#{directive.name}={directive.value}")
        for directive in file.directives.values()
        if directive.name != "escape"
    ]
    if file.escape != "\\":
        head.append(f"# escape={file.escape}")
    body = [line for node in file.nodes for line in _lines(node, file.escape)]
    if head or (body and (is_directive(body[0]) or body[0].startswith(("\ufeff", "#!")))):
        head.append("")  # which ends the directives, and is not a byte order mark
    return "\n".join([*head, *body, ""])


def _lines(node: Node, escape: str) -> Iterator[str]:
    yield from (_held(f"# {comment}", f"#{comment}") for comment in node.prev_comment)
    line = _instruction(node, escape)
    marks = [(h.fd, h.chomp, h.name, h.expand) for h in node.heredocs]
    if marks and heredocs_of(line) != marks and node.original:
        line = node.original.strip(SPACE)  # white space in the name of a heredoc, which the words do not hold
    if not line:
        line = (
            escape  # at the end of a file, a line that goes on with nothing is an instruction without a word
        )
    elif line.endswith(escape) and not line[:-1].endswith(escape):
        line += _BARE
    yield _continued(line, escape)
    for heredoc in node.heredocs:
        yield heredoc.content + heredoc.name


def _held(line: str, shorter: str) -> str:
    return line if _fits(line) else shorter


def _fits(line: str) -> bool:
    return len(line) <= MOST_BYTES // 4 or len(line.encode("utf-8", "surrogateescape")) <= MOST_BYTES


def _continued(line: str, escape: str) -> str:
    """Return a line, cut into several where it is longer than a reader holds."""
    pieces = []
    while not _fits(line):
        # So many characters and the escape character fit, whatever they are; fewer where no line may end or begin.
        at = next((at for at in range(MOST_BYTES // 4 - 1, 0, -1) if _may_end(line, at, escape)), 0)
        if not at:
            break
        pieces.append(line[:at] + escape)
        line = line[at:]
    return "\n".join([*pieces, line])


def _may_end(line: str, at: int, escape: str) -> bool:
    """Return whether a line may go on with the next at ``at``: an escape does not count twice, a comment would be lost."""
    return line[at - 1] != escape and line[at] not in SPACE and line[at] != "#"


def _instruction(node: Node, escape: str) -> str:
    if node.keyword.upper() not in KEYWORDS and node.original:
        return node.original.strip(SPACE)  # of which the tree holds one word only
    words = [node.value, *map(_flag, node.flags)]
    rest = _arguments(node, escape)
    if rest.startswith("--"):
        words.append("--")
    if rest.endswith(tuple(SPACE)):
        rest += escape  # keeps an escaped space, and is dropped itself
    return " ".join([*words, rest]) if rest else " ".join(words)


def _flag(flag: str) -> str:
    """Return a flag as it must be written; its quotes and backslashes are read in every file alike."""
    written = flag
    if _NOT_PLAIN.search(flag):
        name, equals, value = flag.removeprefix("--").partition("=")
        whole = not equals or _NOT_PLAIN.search(name)
        written = f"--{_quoted(name + equals + value)}" if whole else f"--{name}={_quoted(value)}"
    return of_byte_runes(written)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\]', r"\\\g<0>", text) + '"'


def _arguments(node: Node, escape: str) -> str:
    words = node.words
    if node.child is not None:
        return _instruction(node.child, escape)
    if node.keyword in _PAIRS:
        return _pairs(words, escape)
    if node.keyword == "healthcheck" and words:
        kind, *rest = words
        return " ".join([kind, _command(rest, as_json=node.json)] if rest or node.json else [kind])
    if node.json:
        return _command(words, as_json=True)
    if node.keyword not in _LISTS:
        return " ".join(words)
    return (_BARE if words and words[0].startswith("[") else " ").join(words)


def _command(words: Sequence[str], *, as_json: bool) -> str:
    return json.dumps(list(words), ensure_ascii=False) if as_json else " ".join(words)


def _pairs(words: Sequence[str], escape: str) -> str:
    groups = zip(words[::3], words[1::3], words[2::3], strict=True)
    out = []
    for key, value, separator in groups:
        gap = "  " if key.endswith(escape) else " "  # an escaped space would join key and value
        out.append(f"{key}={value}" if separator else f"{key}{gap}{value}")
    return " ".join(out)
