# SPDX-License-Identifier: Apache-2.0
"""``RUN --mount=...`` and ``RUN --device=...``: their options, read in order, as BuildKit checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from frontends.dockerfile import csvfields, errors
from frontends.dockerfile.ast import go_quote
from frontends.dockerfile.gotext import parse_bool, parse_uint
from frontends.dockerfile.suggest import did_you_mean
from llb.ops import CDIDevice

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src",
    "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)


@dataclass(slots=True)
class Mount:
    """One mount; None is "not given"."""

    type: str = "bind"
    source_stage: str = ""
    source: str = ""
    target: str = ""
    readonly: bool | None = None
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def has_owner(self) -> bool:
        """Whether owner or mode were chosen."""
        return not (self.mode is None and self.uid is None and self.gid is None)


def read_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Read the value of one ``--mount``; values are expanded.

    Raises:
        DockerfileError: an option is unknown, malformed, or not one of its type.
    """
    try:
        fields = csvfields.fields(text)
    except csvfields.CSVError as error:
        raise errors.mount(f"failed to parse csv mounts: {error}") from None
    mount = Mount()
    for field in fields:
        key, equals, value = field.partition("=")
        if equals:
            _set(mount, key.lower(), expand(value), field)
        else:
            _set_bare(mount, key.lower(), field)
    _check(mount)
    if mount.readonly is None:
        mount.readonly = mount.type == "bind"
    return mount


def _set_bare(mount: Mount, key: str, field: str) -> None:
    match key:
        case "readonly" | "ro":
            mount.readonly = True
        case "readwrite" | "rw":
            mount.readonly = False
        case "required" if mount.type in ("secret", "ssh"):
            mount.required = True
        case "required":
            raise errors.mount_order(key, mount.type)
        case _:
            raise errors.mount(
                f"invalid field '{field}' must be a key=value pair",
                f"write {field}=value",
            )


_TEXTS = {
    "from": "source_stage",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "id": "id",
    "env": "env",
}
_NUMBERS = {"mode": 8, "uid": 10, "gid": 10}


def _set(mount: Mount, key: str, value: str, field: str) -> None:
    if key in _TEXTS:
        setattr(mount, _TEXTS[key], value)
    elif key in _NUMBERS:
        setattr(mount, key, _number(key, value, _NUMBERS[key]))
    else:
        _set_checked(mount, key, value, field)


def _set_checked(mount: Mount, key: str, value: str, field: str) -> None:
    match key:
        case "type":
            mount.type = _type(value)
        case "readonly" | "ro":
            mount.readonly = _truth(key, value)
        case "readwrite" | "rw":
            mount.readonly = not _truth(key, value)
        case "sharing":
            mount.sharing = _sharing(value)
        case "required" if mount.type in ("secret", "ssh"):
            mount.required = _truth(key, value)
        case "size" if mount.type == "tmpfs":
            mount.size = _size(key, value)
        case "required" | "size":
            raise errors.mount_order(key, mount.type)
        case _:
            raise errors.mount_key(key, field, KEYS)


def _type(value: str) -> str:
    if value.lower() not in TYPES:
        message = f"unsupported mount type {go_quote(value)}{did_you_mean(value, TYPES)}"
        raise errors.mount(message, f"types are {', '.join(TYPES)}")
    return value.lower()


def _check(mount: Mount) -> None:
    if mount.type not in ("secret", "ssh", "cache"):
        for name, value in (
            ("mode", mount.mode),
            ("uid", mount.uid),
            ("gid", mount.gid),
        ):
            if value is not None:
                raise errors.mount(f"{name} not allowed for {go_quote(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.source_stage:
            raise errors.mount("secret mount should not have a from")
        if mount.sharing:
            raise errors.mount("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise errors.mount("invalid secret mount. one of source, target required", "write id=NAME")
        if mount.source and mount.id:
            raise errors.mount("both source and id can't be set", "write id=NAME only")
    if mount.sharing and mount.type != "cache":
        raise errors.mount(
            f"invalid cache sharing set for {mount.type} mount",
            "sharing belongs to type=cache",
        )


def _sharing(value: str) -> str:
    if value.lower() not in SHARINGS:
        message = f"unsupported sharing value {go_quote(value)}{did_you_mean(value, SHARINGS)}"
        raise errors.mount(message, f"values are {', '.join(SHARINGS)}")
    return value.lower()


def _truth(key: str, value: str) -> bool:
    found = parse_bool(value)
    if found is None:
        raise errors.mount(f"invalid value for {key}: {value}", "write true or false")
    return found


def _number(key: str, value: str, base: int) -> int:
    found = parse_uint(value, base, 32)
    if found is None:
        raise errors.mount(f"invalid value {value} for {key}", f"write a number in base {base}")
    return found


def _size(key: str, value: str) -> int:
    found = parse_size(value)
    if found is None:
        raise errors.mount(f"invalid value for {key}: {value}", "write a number with k, m or g")
    return found


def parse_size(text: str) -> int | None:
    """Return a size such as ``64m`` in bytes; None if it is none."""
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * _UNITS[match[2].lower()]) if match is not None else None


def mount_from(text: str) -> str:
    """Return what a mount names with ``from=``: the one option that is needed before words are expanded.

    Raises:
        DockerfileError: it has variables.
    """
    found = ""
    try:
        parts = csvfields.fields(text)
    except csvfields.CSVError as error:
        raise errors.mount(f"failed to parse csv mounts: {error}") from None
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key.lower() != "from":
            continue
        if re.search(r"\$.", value):
            raise errors.mount(
                f"'{key.lower()}' doesn't support variable expansion, define alias stage instead",
                "write FROM $NAME AS alias, then from=alias",
            )
        found = value
    return found


def read_device(text: str) -> CDIDevice:
    """Read the value of one ``--device``: a CDI name, or ``name=NAME``, and ``required``.

    Raises:
        DockerfileError: an option is unknown or malformed.
    """
    try:
        fields = csvfields.fields(text)
    except csvfields.CSVError as error:
        raise errors.device(f"failed to parse csv devices: {error}") from None
    name, required = "", False
    for field in fields:
        key, equals, value = field.partition("=")
        match key.lower():
            case "name" if equals:
                name = _device_name(name, value)
            case "required":
                required = _truth("required", value) if equals else True
            case _ if "/" in key or not equals:
                name = _device_name(name, field)
            case _:
                message = f"unexpected key '{key}' in '{field}'{did_you_mean(key, ('name', 'required'))}"
                raise errors.device(message, "options are name and required")
    return CDIDevice(name=name, optional=not required)


def _device_name(before: str, name: str) -> str:
    if before:
        raise errors.device(f"device name already set to {before}", "use one --device for each")
    return name
