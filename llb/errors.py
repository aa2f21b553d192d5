# SPDX-License-Identifier: Apache-2.0
"""Errors of graphs and definitions."""

from __future__ import annotations


class LLBError(Exception):
    """Base: DefinitionError (a wire message or a graph breaks the rules), StateError (a builder call makes no sense)."""


class DefinitionError(LLBError):
    """A definition cannot be used. The message names the op and the field."""


class StateError(LLBError):
    """A state cannot become a graph."""


def unencodable(error: ValueError) -> DefinitionError:
    """Return the message for a value that protobuf cannot encode: a text that is not UTF-8, a number of too many bits."""
    if isinstance(error, UnicodeEncodeError):
        return not_utf8(error)
    return DefinitionError(f"number out of range in the graph: {error}")


def not_utf8(error: UnicodeEncodeError) -> DefinitionError:
    """Return the message for a string that protobuf cannot encode."""
    place = max(0, error.start - 20)
    return DefinitionError(
        f"string in the graph is not valid UTF-8: {error.object[place : error.end + 20]!r}"
    )
