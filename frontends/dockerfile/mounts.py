# SPDX-License-Identifier: Apache-2.0
"""``RUN --mount=...``: one mount's options, in their order, as BuildKit checks them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass

from frontends.dockerfile.ast import Node
from frontends.dockerfile.errors import at
from grammar import DiagnosticError, nearest

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
    """Apply one option; return whether the mount is still as writable as its type has it."""
    key, equals, value = part.partition("=")
    key = _ALIASES.get(key.lower(), key.lower())
    if not equals:
        return _bare(node, mount, key, part, rw_auto)
    if key not in _SETTERS:
        raise at(
            node, f"unexpected key '{key}' in '{part}'", code="mount", suggestion=nearest(key, sorted(_KEYS))
        )
    _SETTERS[key](node, mount, value if key == "from" else expand(value))
    return rw_auto and key not in ("readonly", "readwrite")


def _bare(node: Node, mount: Mount, key: str, part: str, rw_auto: bool) -> bool:
    """Apply an option without a value."""
    match key:
        case "readonly" | "readwrite":
            mount.readonly = key == "readonly"
            return False
        case "required" if mount.type in ("secret", "ssh"):
            mount.required = True
            return rw_auto
        case "required":
            raise _not_of_type(node, mount, key)
        case _:
            raise at(node, f"invalid field '{part}' must be a key=value pair", code="mount")


def _not_of_type(node: Node, mount: Mount, key: str) -> DiagnosticError:
    message = f"unexpected key '{key}' for mount type '{mount.type}'"
    return at(node, message, code="mount", hint="put type= first")


def _set_type(node: Node, mount: Mount, value: str) -> None:
    if value not in TYPES:
        close = nearest(value, sorted(TYPES))
        raise at(node, f'unsupported mount type "{value}"', code="mount", suggestion=close)
    mount.type = value


def _set_sharing(node: Node, mount: Mount, value: str) -> None:
    if value.lower() not in SHARINGS:
        raise at(
            node,
            f'unsupported sharing value "{value}"',
            code="mount",
            hint="sharing is shared, private or locked",
            suggestion=nearest(value, SHARINGS),
        )
    mount.sharing = value.lower()


def _set_required(node: Node, mount: Mount, value: str) -> None:
    if mount.type not in ("secret", "ssh"):
        raise _not_of_type(node, mount, "required")
    mount.required = _truth(node, "required", value)


def _set_size(node: Node, mount: Mount, value: str) -> None:
    if mount.type != "tmpfs":
        raise _not_of_type(node, mount, "size")
    mount.size = _size(node, value)


def _set_readonly(node: Node, mount: Mount, value: str) -> None:
    mount.readonly = _truth(node, "readonly", value)


def _set_readwrite(node: Node, mount: Mount, value: str) -> None:
    mount.readonly = not _truth(node, "readwrite", value)


def _text(field: str) -> Callable[[Node, Mount, str], None]:
    return lambda node, mount, value: setattr(mount, field, value)


def _numeric(field: str, base: int) -> Callable[[Node, Mount, str], None]:
    return lambda node, mount, value: setattr(mount, field, _number(node, field, value, base))


_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_SETTERS: dict[str, Callable[[Node, Mount, str], None]] = {
    "env": _text("env"),
    "from": _text("source_stage"),
    "gid": _numeric("gid", 10),
    "id": _text("id"),
    "mode": _numeric("mode", 8),
    "readonly": _set_readonly,
    "readwrite": _set_readwrite,
    "required": _set_required,
    "sharing": _set_sharing,
    "size": _set_size,
    "source": _text("source"),
    "target": _text("target"),
    "type": _set_type,
    "uid": _numeric("uid", 10),
}


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
