# SPDX-License-Identifier: Apache-2.0
"""``RUN --mount=...``: one mount's options, in their order, as BuildKit checks them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass

from frontends.dockerfile.ast import Node
from frontends.dockerfile.errors import at
from grammar import nearest

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src",
    "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


@dataclass(slots=True)
class Mount:
    """One mount; None is "not given"."""

    type: str = "bind"
    source_stage: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = False
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def read_mount(node: Node, text: str, expand: Callable[[str], str]) -> Mount:
    """Read the value of one ``--mount``; values are expanded.

    Raises:
        DiagnosticError: an option is unknown, malformed, or not one of its type.
    """
    try:
        parts = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise at(node, f"failed to parse csv mounts: {error}", code="mount") from None
    mount = Mount()
    rw_auto = True
    for part in parts:
        rw_auto = _option(node, mount, part, expand, rw_auto)
    return _checked(node, mount, rw_auto)


def _option(node: Node, mount: Mount, part: str, expand: Callable[[str], str], rw_auto: bool) -> bool:
    key, equals, value = part.partition("=")
    key = key.lower()
    if not equals:
        match key:
            case "readonly" | "ro":
                mount.readonly = True
                return False
            case "readwrite" | "rw":
                mount.readonly = False
                return False
            case "required" if mount.type in ("secret", "ssh"):
                mount.required = True
                return rw_auto
            case "required":
                raise at(
                    node,
                    f"unexpected key '{key}' for mount type '{mount.type}'",
                    code="mount",
                    hint="put type= first",
                )
            case _:
                raise at(node, f"invalid field '{part}' must be a key=value pair", code="mount")
    value = expand(value) if key != "from" else value
    match key:
        case "type":
            if value not in TYPES:
                raise at(
                    node,
                    f'unsupported mount type "{value}"',
                    code="mount",
                    suggestion=nearest(value, sorted(TYPES)),
                )
            mount.type = value
        case "from":
            mount.source_stage = value
        case "source" | "src":
            mount.source = value
        case "target" | "dst" | "destination":
            mount.target = value
        case "readonly" | "ro":
            mount.readonly, rw_auto = _truth(node, key, value), False
        case "readwrite" | "rw":
            mount.readonly, rw_auto = not _truth(node, key, value), False
        case "required":
            if mount.type not in ("secret", "ssh"):
                raise at(
                    node,
                    f"unexpected key '{key}' for mount type '{mount.type}'",
                    code="mount",
                    hint="put type= first",
                )
            mount.required = _truth(node, key, value)
        case "size":
            if mount.type != "tmpfs":
                raise at(
                    node,
                    f"unexpected key '{key}' for mount type '{mount.type}'",
                    code="mount",
                    hint="put type= first",
                )
            mount.size = _size(node, value)
        case "id":
            mount.id = value
        case "sharing":
            if value.lower() not in SHARINGS:
                hint = "sharing is shared, private or locked"
                raise at(
                    node,
                    f'unsupported sharing value "{value}"',
                    code="mount",
                    hint=hint,
                    suggestion=nearest(value, SHARINGS),
                )
            mount.sharing = value.lower()
        case "mode":
            mount.mode = _number(node, key, value, 8)
        case "uid":
            mount.uid = _number(node, key, value, 10)
        case "gid":
            mount.gid = _number(node, key, value, 10)
        case "env":
            mount.env = value
        case _:
            message = f"unexpected key '{key}' in '{part}'"
            raise at(node, message, code="mount", suggestion=nearest(key, sorted(_KEYS)))
    return rw_auto


def _checked(node: Node, mount: Mount, rw_auto: bool) -> Mount:
    files = mount.type in ("secret", "ssh")
    if mount.mode is not None and not files and mount.type != "cache":
        raise at(node, f"mode not allowed for {mount.type!r} type mounts", code="mount")
    if rw_auto:
        mount.readonly = mount.type == "bind"
    if mount.sharing and mount.type == "secret":
        raise at(node, "secret mount should not define sharing", code="mount")
    if mount.sharing and mount.type != "cache":
        raise at(node, f"invalid cache sharing set for {mount.type} mount", code="mount")
    if mount.type == "secret" and not (mount.source or mount.target or mount.id):
        raise at(
            node, "invalid secret mount. one of source, target required", code="mount", hint="write id=NAME"
        )
    if mount.type == "secret" and mount.source_stage:
        raise at(node, "secret mount should not have a from", code="mount")
    if mount.type == "ssh" and mount.source:
        raise at(node, "ssh does not support source", code="mount", hint="name the agent with id=")
    return mount


def _truth(node: Node, key: str, value: str) -> bool:
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise at(node, f"invalid value for {key}: {value}", code="mount", hint="use true or false")


def _number(node: Node, key: str, value: str, base: int) -> int:
    try:
        number = int(value, base)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise at(node, f"invalid value {value} for {key}", code="mount")
    return number


def _size(node: Node, value: str) -> int:
    text = value.strip().lower()
    digits = text.rstrip("bkmgtpi")
    unit = text[len(digits) :].removesuffix("b").removesuffix("i")
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError):
        raise at(
            node, f"invalid value for size: {value}", code="mount", hint="write a number with k, m or g"
        ) from None
