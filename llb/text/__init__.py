# SPDX-License-Identifier: Apache-2.0
"""Graphs as text, for reading, editing and comparing, and back; a round trip preserves every digest.

%alpine = source docker-image://docker.io/library/alpine:3.20
  name "[1/2] FROM alpine"
  platform linux/amd64
  at @Dockerfile 1

%run-make-all = exec /bin/sh -c "make all"
  name "[2/2] RUN make all"
  platform linux/amd64
  cwd /src
  mount / from %alpine -> 0
  mount /root/.cache cache id=c

head %run-make-all

@Dockerfile = text Dockerfile language=Dockerfile
  | FROM alpine:3.20
  | RUN make all

A vertex has the name of what it does, so a step more renames nothing else; numbers tell apart what does the same. Written is
what is not the usual, that is, what the builder writes unless told otherwise: the root as directory, times and modes that are
kept. Contents stand inline, in lines after ``|``, or in base64. What the ops of this version cannot say (fields of later
versions, other spellings of the same message) is written as ``raw`` bytes.

The grammar is ``grammar/llbtext.lark``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llbkit.llb.text.printer import render
    from llbkit.llb.text.reader import Reading, read, study

__all__ = ["Reading", "read", "render", "study"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(
        import_module(f"llbkit.llb.text.{'printer' if name == 'render' else 'reader'}"), name
    )
    return value
