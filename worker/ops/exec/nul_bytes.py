# SPDX-License-Identifier: Apache-2.0
"""Reject text with NUL bytes, which paths, arguments and URLs cannot contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from llbkit.llb.ir.ops import Op
from llbkit.worker.base import WorkerError


def refuse_nul(op: Op) -> None:
    """Check every text of an op, however deep; contents are bytes and may hold anything.

    Raises:
        WorkerError: one holds a NUL byte.
    """
    pending: list[tuple[str, object]] = [("", op)]
    while pending:
        name, value = pending.pop()
        match value:
            case str():
                if "\0" in value:
                    raise WorkerError(
                        f"{name} {value!r} holds a NUL byte",
                        help="remove the byte or save the file as UTF-8",
                    )
            case Mapping():
                pending.extend((name, item) for pair in value.items() for item in pair)
            case tuple():
                pending.extend((name, item) for item in value)
            case _ if is_dataclass(value):
                pending.extend((field.name, getattr(value, field.name)) for field in fields(value))
