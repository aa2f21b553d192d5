# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles that subrequests are asked about: what BuildKit answered is recorded in ``tests/golden/calls.json``."""

from __future__ import annotations

from dataclasses import field

from llbkit.records import dataclass

ALL = ("check", "outline", "targets")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCase:
    """One file and the options it is asked about with."""

    name: str
    text: str
    args: dict[str, str] = field(default_factory=dict)
    target: str = ""
    ignore: str = ""
    calls: tuple[str, ...] = ALL

    @property
    def attrs(self) -> dict[str, str]:
        """The frontend attributes that a client sends."""
        attrs = {f"build-arg:{key}": value for key, value in self.args.items()}
        return {**attrs, "target": self.target} if self.target else attrs


_CHAIN = """\
# BASE of it
ARG BASE=alpine
ARG TAG=3.20
ARG IMG=$BASE:$TAG
ARG UNUSED=1
# w is the worker
FROM $IMG AS w
ARG TAG
ARG MINE=a$TAG
# A one
ARG A=1
RUN --mount=type=secret,id=s1 x
RUN --mount=type=secret,id=s1,required x
RUN --mount=type=secret,id=s2,required=true x
RUN --mount=type=secret,id=s2 x
FROM alpine AS other
ARG OTHER
RUN --mount=type=ssh,id=k,required x
FROM w
RUN --mount=type=bind,from=other,target=/o x
RUN --mount=type=ssh x
RUN --mount=type=ssh,id=k x
RUN --mount=type=secret,target=/run/zz x
RUN --mount=type=secret,source=src,target=/run/src x
ENV X=$A
"""

_SHADOWED = """\
ARG A=g
FROM alpine AS b
ARG A=b
FROM b AS c
ARG A=c
ARG Q
# c2 says <&> \u00e9
FROM c AS c2
"""

CASES = (
    CallCase(name="arguments of a chain", text=_CHAIN),
    CallCase(
        name="arguments of a target", text=_CHAIN, target="w", args={"A": "zz", "TAG": "latest", "NONE": "1"}
    ),
    CallCase(name="a shadowed argument", text=_SHADOWED),
    CallCase(name="a shadowed argument of a target", text=_SHADOWED, target="c"),
    CallCase(
        name="a platform from an argument",
        text="ARG P=linux/amd64\nFROM --platform=$P alpine\nARG TARGETPLATFORM\nARG TARGETARCH=x\n"
        "ARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG X=<&>\nARG HTTP_PROXY\n",
    ),
    CallCase(name="nothing to tell", text="FROM scratch\n"),
    CallCase(name="no stage", text="ARG x\n"),
    CallCase(name="unnamed stages", text="FROM alpine\nFROM scratch AS named\n# a stage\nFROM alpine\n"),
    CallCase(name="a file with an unknown word", text="FROM alpine\nWORKDIRR x\n"),
    CallCase(name="a missing image", text="FROM alpine\nCMD a\nCOPY --from=zzz a b\n", calls=("check",)),
    CallCase(
        name="a finding before an error", text="FROM alpine AS Foo\nMAINTAINER x\nCOPY a\n", calls=("check",)
    ),
    CallCase(
        name="findings that fail",
        text="# check=error=true\nFROM alpine AS Foo\nCMD x\n",
        calls=("check", "targets"),
    ),
    CallCase(
        name="findings in a stage nobody needs",
        text="FROM alpine AS one\nCMD x\nFROM alpine AS two\nWORKDIR x\n",
        calls=("check", "outline"),
    ),
    CallCase(
        name="findings of a target",
        text="FROM alpine AS one\nCMD x\nFROM alpine AS two\nWORKDIR x\n",
        target="one",
        calls=("check",),
    ),
    CallCase(
        name="findings out of order",
        text="# check=experimental=all\nfrom alpine as base\n# no name\nARG TOKEN\nENV A b\n\n\nRUN x \\\n\n  y\n"
        'HEALTHCHECK NONE\nHEALTHCHECK CMD z\nEXPOSE 80/TCP 1:2\nCMD ["q"]\nMAINTAINER me\nWORKDIR w\n',
        calls=("check",),
    ),
    CallCase(
        name="long lines and tabs",
        text="FROM alpine\nRUN <<EOF\n\ta\n\nb\nEOF\nENV A \\\n  b \\\n  c\n\n\nRUN y",
        calls=("check",),
    ),
    CallCase(
        name="ignored files",
        text="# check=experimental=CopyIgnoredFile\nFROM alpine\nCOPY a b c /\nADD c/d /\nCOPY . /\n",
        ignore="a\nc/*\nc\n",
        calls=("check",),
    ),
    CallCase(
        name="an error in a stage nobody needs",
        text="FROM alpine AS one\nCMD x\nRUN --mount=type=bind,mode=7 x\nFROM alpine AS two\nWORKDIR x\n",
        calls=("check", "outline"),
    ),
    CallCase(
        name="a missing image in a stage nobody needs",
        text="FROM zzz AS one\nCMD x\nFROM alpine AS two\nWORKDIR x\n",
        calls=("check", "outline"),
    ),
    CallCase(
        name="a circle",
        text="FROM alpine AS a\nCOPY --from=b x y\nFROM alpine AS b\nCOPY \\\n  --from=a x y\n",
    ),
    CallCase(
        name="a platform that is none", text="FROM --platform=a/b/c/d/e alpine\nCMD x\n", calls=("outline",)
    ),
    CallCase(name="an open document", text="FROM alpine\nCMD x\nRUN <<EOF\nx\n"),
    CallCase(name="an unknown directive value", text="# check=skip\nFROM alpine\nCMD x\n"),
    CallCase(name="a wrong escape", text="# escape=x\nFROM alpine\nCMD x\n"),
    CallCase(name="no instruction", text="# nothing\n\n"),
    CallCase(name="an empty file", text=""),
    CallCase(
        name="several platforms",
        text="FROM alpine\nCMD $TARGETARCH x\nARG TARGETARCH\nENV A=$TARGETARCHH\n",
        calls=("check", "outline"),
    ),
    CallCase(name="an unknown target", text="FROM alpine AS one\n", target="two", calls=("check", "targets")),
    CallCase(
        name="inherited build arguments",
        text="ARG A=1\nARG B=$A\nFROM alpine AS x\nARG B\nARG A\nFROM x\nARG C=$B-$A\nARG D\n",
        args={"D": "", "B": "q"},
        calls=("outline",),
    ),
    CallCase(
        name="a comment that names the stage in capitals",
        text="# Foo is it\n# foo again\nFROM alpine AS Foo\n",
        calls=("targets", "outline"),
    ),
)
