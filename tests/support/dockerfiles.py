# SPDX-License-Identifier: Apache-2.0
"""Drawn Dockerfiles: every instruction with right and wrong flags, in the forms and with the white space that there are."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

Draw = st.DrawFn

WORD = st.sampled_from(
    ["a", "b/c", "alpine", "$A", "${A:-x y}", "${A/b/c}", "'q r'", '"q $A"', "é", "\\ ", "`", "\\", "x\\\\", "[", "--", "--x", "<<", "=",
     "a=b", "1", "80/tcp", "\x00", "\udcff", "\x85", "\u3000", "'", '"', "#", "${", "~", "*.c", "\ufeff", "日本"]
)  # fmt: skip
NAME = st.sampled_from(["A", "B", "PATH", "a-b", "é", "$A", "", "x\\"])
FLAGS = {
    "FROM": ["--platform=linux/amd64", "--platform=$A", "--platform", "--plat=x"],
    "RUN": [
        "--mount=type=cache,target=/a", '--mount=type=bind,"target=/a b"', "--mount=typ=x", "--network=none", "--network=x",
        "--security=insecure", "--device=a/b=c", "--mount=type=secret,id=a,required", "--mount=", '--mount="',
    ],
    "COPY": ["--from=b", "--from=0", "--from=9", "--chown=a:b", "--chmod=755", "--chmod=u+x", "--link", "--link=x", "--parents", "--exclude=*.c"],
    "ADD": ["--checksum=sha256:0", "--keep-git-dir=true", "--unpack", "--chown=1", "--foo"],
    "HEALTHCHECK": ["--interval=5s", "--interval=x", "--retries=3", "--retries=-1", "--timeout=1h", "--start-period=1ms"],
    "": ["--x", "--a\\ b=c", "--'a b'", '--x="y z"', "--x=\\\\", "--é=\udcff", "--"],
}  # fmt: skip
KEYWORDS = [
    "FROM", "RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME", "ENV", "LABEL", "ARG", "EXPOSE", "USER", "WORKDIR", "STOPSIGNAL",
    "MAINTAINER", "HEALTHCHECK", "ONBUILD", "FOO",
]  # fmt: skip
GAP = st.sampled_from([" ", " ", " ", "  ", "\t", "\v", " \f", "\r "])


@st.composite
def flags(draw: Draw, keyword: str) -> str:
    choices = FLAGS.get(keyword, []) + FLAGS[""]
    count = draw(st.sampled_from([0, 0, 1, 2]))
    return "".join(draw(st.sampled_from(choices)) + draw(GAP) for _ in range(count))


@st.composite
def json_form(draw: Draw) -> str:
    items = draw(st.lists(st.sampled_from(["a", "-c", "é\n", '"', "\\", "$A", "<<E", ""]), max_size=3))
    text = json.dumps(items, ensure_ascii=draw(st.booleans()))
    return draw(
        st.sampled_from(
            [text, text, text.replace(",", " ,\t"), text[:-1], text + " x", "[1]", text.replace(",", ",\v")]
        )
    )


@st.composite
def words(draw: Draw, most: int = 4) -> str:
    found = draw(st.lists(WORD, max_size=most))
    return "".join(word + draw(GAP) for word in found).rstrip(" ") if found else ""


@st.composite
def pairs(draw: Draw) -> str:
    if draw(st.booleans()):
        return draw(NAME) + draw(GAP) + draw(words())
    return " ".join(draw(NAME) + "=" + draw(WORD) for _ in range(draw(st.integers(0, 3))))


def _arguments(keyword: str) -> st.SearchStrategy[str]:
    if keyword in ("ENV", "LABEL"):
        return st.one_of(pairs(), words())
    if keyword == "HEALTHCHECK":
        kind = st.sampled_from(["CMD ", "NONE", "cmd\t", "FOO ", ""])
        return st.tuples(kind, st.one_of(json_form(), words())).map("".join)
    if keyword == "FROM":
        return st.one_of(
            st.sampled_from(["alpine", "alpine AS b", "scratch as c", "b", "$A", "0", "a as 1"]), words()
        )
    if keyword in ("RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME"):
        return st.one_of(json_form(), words())
    return words()


HEREDOC_NAMES = ["E", "'E'", '"E F"', "E1", "é", "F", '"a  b"']


@st.composite
def heredocs(draw: Draw) -> tuple[str, str]:
    """Return marks for a line, and the bodies below it."""
    marks, bodies = [], []
    for name in draw(st.lists(st.sampled_from(HEREDOC_NAMES), min_size=1, max_size=3)):
        dash = draw(st.sampled_from(["", "-"]))
        marks.append(draw(st.sampled_from(["", "3"])) + "<<" + dash + name)
        body = draw(
            st.lists(
                st.sampled_from(["x", "\ty $A", "", "#!/bin/sh", "\\", "é\r", "\udcff", "RUN <<E"]),
                max_size=3,
            )
        )
        plain = name.strip("'\"")
        end = draw(st.sampled_from(["", "\t"])) if dash else ""
        bodies += [*body, end + plain]
    return " ".join(marks), "\n" + "\n".join(bodies)


@st.composite
def instruction(draw: Draw) -> str:
    keyword = draw(st.sampled_from(KEYWORDS))
    prefix = ""
    if keyword == "ONBUILD":
        prefix = "ONBUILD" + draw(GAP) + draw(flags(""))
        keyword = draw(st.sampled_from(KEYWORDS))
    shown = draw(st.sampled_from([keyword, keyword, keyword.lower(), keyword.title()]))
    line = prefix + shown + draw(GAP) + draw(flags(keyword))
    if keyword in ("RUN", "COPY", "ADD") and draw(st.booleans()):
        marks, bodies = draw(heredocs())
        text = (
            line
            + draw(st.sampled_from(["", "cat ", "a "]))
            + marks
            + draw(st.sampled_from(["", " /", " | sh", "\t/b"]))
        )
        return text + bodies
    return line + draw(_arguments(keyword)) + draw(st.sampled_from(["", "", " ", "\t", "\u00a0"]))


@st.composite
def continued(draw: Draw, escape: str) -> str:
    """Return an instruction, perhaps with its spaces turned into continuations and comments between."""
    text = draw(instruction())
    head, newline, rest = text.partition("\n")
    parts = head.split(" ")
    out = parts[0]
    for part in parts[1:]:
        out += (
            draw(
                st.sampled_from(
                    [
                        " ",
                        " ",
                        " ",
                        f" {escape}\n",
                        f"{escape} \n  ",
                        f" {escape}\n# c\n\n\t",
                        f"{escape}\n\n ",
                    ]
                )
            )
            + part
        )
    return out + newline + rest


BETWEEN = [
    "",
    "",
    "\n",
    "# about b\n",
    "# check=skip=all\n",
    "  # indented\n",
    "#\n",
    "\t\n",
    "#!x\n",
    "# escape=`\n",
    "#\u3000x\n",
]
HEADS = [
    "",
    "",
    "# syntax=docker/dockerfile:1\n",
    "# check=skip=JSONArgsRecommended\n",
    "#!/usr/bin/x\n",
    "\ufeff",
    "\n",
    "# syntax=a  b\n",
]


@st.composite
def dockerfiles(draw: Draw, valid_start: bool = False) -> str:
    """Return a Dockerfile; most have something wrong."""
    escape = draw(st.sampled_from("\\\\`"))
    text = draw(st.sampled_from(HEADS))
    if escape == "`":
        text += "# escape=`\n"
    if valid_start:
        text += "FROM alpine AS b\n"
    for _ in range(draw(st.integers(1, 5))):
        text += draw(st.sampled_from(BETWEEN)) + draw(continued(escape)) + "\n"
    text += draw(st.sampled_from(["", "", "# the end", escape, " " + escape + "\n\n"]))
    return text.replace("\n", "\r\n") if draw(st.sampled_from([False, False, False, True])) else text


MUTATIONS: list[Callable[[str, int, str], str]] = [
    lambda text, at, piece: text[:at] + piece + text[at:],
    lambda text, at, piece: text[:at] + text[at + len(piece) :],
    lambda text, at, piece: text[:at] + piece + text[at + len(piece) :],
    lambda text, at, piece: text[:at] + text[at:] * 2,
]
