# SPDX-License-Identifier: Apache-2.0
"""One line of comma-separated values, as mounts, devices and options are written."""

from __future__ import annotations


class CSVError(ValueError):
    """The line is malformed; the message is that of Go's CSV reader."""


def fields(line: str) -> list[str]:
    r"""Split a line at commas; a field in double quotes may hold commas, and ``""`` for a quote.

    Raises:
        CSVError: the line is empty, a quote stands in an unquoted field, or a quoted field does not end.
    """
    if not line:
        raise CSVError("EOF")
    out: list[str] = []
    at = 0
    while True:
        if line[at : at + 1] == '"':
            text, at = _quoted(line, at + 1)
        else:
            end = line.find(",", at)
            end = len(line) if end < 0 else end
            text = line[at:end]
            if '"' in text:
                raise _error(line, at + text.index('"'), 'bare " in non-quoted-field')
            at = end
        out.append(text)
        if at >= len(line):
            return out
        at += 1


def _quoted(line: str, at: int) -> tuple[str, int]:
    text: list[str] = []
    while True:
        end = line.find('"', at)
        if end < 0:
            raise _error(line, len(line), 'extraneous or missing " in quoted-field')
        text.append(line[at:end])
        following = line[end + 1 : end + 2]
        if following == '"':
            text.append('"')
            at = end + 2
        elif following in ("", ","):
            return "".join(text), end + 1
        else:
            raise _error(line, end, 'extraneous or missing " in quoted-field')


def _error(line: str, at: int, message: str) -> CSVError:
    column = len(line[:at].encode("utf-8", "surrogateescape")) + 1
    return CSVError(f"parse error on line 1, column {column}: {message}")
