# SPDX-License-Identifier: Apache-2.0
"""``RUN --mount=...`` and ``RUN --device=...``: their options, read in order, as BuildKit checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.errors.suggest import did_you_mean
from llbkit.frontends.kit.golang.csv import CSVError, Field, fields
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_bool, parse_float, parse_uint
from llbkit.grammar import Span
from llbkit.llb.ir.ops import CDIDevice
from llbkit.records import dataclass

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src",
    "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_DEVICE_KEYS = ("name", "required")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"(?P<number>.*[0-9.]|.*(?= )) ?(?P<suffix>[^0-9. ]*)", re.DOTALL)
_SUFFIX = re.compile(r"b?|([kmgtp])(?:i?b)?", re.IGNORECASE | re.ASCII)


@dataclass(slots=True)
class Mount:
    """One mount; None is "not given". ``places`` are where its options stand, by their attribute here."""

    written: Word
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
    places: dict[str, Field] = field(default_factory=dict)

    @property
    def has_owner(self) -> bool:
        """Whether owner or mode were chosen."""
        return not (self.mode is None and self.uid is None and self.gid is None)

    def span(self, *names: str) -> Span:
        """Return where the first of these options that was given stands; the whole value if none was."""
        for name in names:
            if (place := self.places.get(name)) is not None:
                return self.written.range_span(place.start, place.end)
        return self.written.span


def read_mount(written: Word, expand: Callable[[str], str]) -> Mount:
    """Read the value of one ``--mount``; values are expanded. Errors point at the option that is wrong.

    Raises:
        ProgramError: an option is unknown, malformed, or not one of its type.
    """
    mount = Mount(written)
    for option in _options(written):
        value = option.value
        if value is None:
            with pointed(partial(written.range_span, option.start, option.end)):
                _set_bare(mount, option)
            continue
        with pointed(partial(_value_span, written, option)):
            word = written.part(*option.value_range)
            _set(mount, option, expand(word if word == value else value))
    _check(mount)
    if mount.readonly is None:
        mount.readonly = mount.type == "bind"
    return mount


def _value_span(written: Word, option: Field) -> Span:
    return written.range_span(*option.value_range)


def _options(written: Word) -> tuple[Field, ...]:
    try:
        return fields(written)
    except CSVError as error:
        message = f"failed to parse csv mounts: {error}"
        span = written.range_span(error.at, error.at + 1) if written else written.span
        raise errors.mount(message, "write key=value,key=value", span=span) from None


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
_FLAGS = {"readonly": "readonly", "ro": "readonly", "readwrite": "readonly", "rw": "readonly"}
_NUMBERS = {"mode": 8, "uid": 10, "gid": 10}


def _note(mount: Mount, key: str, option: Field) -> None:
    mount.places[_TEXTS.get(key) or _FLAGS.get(key) or key] = option


def _set_bare(mount: Mount, option: Field) -> None:
    key = option.text.lower()
    _note(mount, key, option)
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
            raise errors.mount_pair(option.text, KEYS)


def _set(mount: Mount, option: Field, value: str) -> None:
    key = option.key.lower()
    _note(mount, key, option)
    if key in _TEXTS:
        setattr(mount, _TEXTS[key], value)
    elif key in _NUMBERS:
        setattr(mount, key, _number(key, value, _NUMBERS[key]))
    else:
        with pointed(partial(_key_span, mount, option) if key not in KEYS else None):
            _set_checked(mount, key, value, option)


def _key_span(mount: Mount, option: Field) -> Span:
    return mount.written.range_span(*option.key_range)


def _set_checked(mount: Mount, key: str, value: str, option: Field) -> None:
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
            with pointed(partial(_key_span, mount, option)):
                raise errors.mount_order(key, mount.type)
        case _:
            raise errors.mount_key(key, option.text, KEYS)


def _type(value: str) -> str:
    if value.lower() not in TYPES:
        message = f"unsupported mount type {go_quote(value)}{did_you_mean(value, TYPES)}"
        raise errors.mount(message, f"valid types: {', '.join(TYPES)}")
    return value.lower()


def _check(mount: Mount) -> None:
    if mount.type not in ("secret", "ssh", "cache"):
        for name, value in (("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)):
            if value is not None:
                message = f"{name} not allowed for {go_quote(mount.type)} type mounts"
                hint = f"{name} requires type=secret, ssh or cache"
                raise errors.mount(message, hint, span=mount.span(name))
    if mount.type == "secret":
        _check_secret(mount)
    if mount.sharing and mount.type != "cache":
        message = f"invalid cache sharing set for {mount.type} mount"
        raise errors.mount(message, "sharing requires type=cache", span=mount.span("sharing"))


def _check_secret(mount: Mount) -> None:
    if mount.source_stage:
        raise errors.mount(
            "secret mount should not have a from", "remove from=", span=mount.span("source_stage")
        )
    if mount.sharing:
        message = "secret mount should not define sharing"
        raise errors.mount(message, "sharing requires type=cache", span=mount.span("sharing"))
    if not (mount.source or mount.target or mount.id):
        message = "invalid secret mount. one of source, target required"
        raise errors.mount(message, "write id=NAME", span=mount.written.span)
    if mount.source and mount.id:
        raise errors.mount("both source and id can't be set", "write id=NAME only", span=mount.span("source"))


def _sharing(value: str) -> str:
    if value.lower() not in SHARINGS:
        message = f"unsupported sharing value {go_quote(value)}{did_you_mean(value, SHARINGS)}"
        raise errors.mount(message, f"valid values: {', '.join(SHARINGS)}")
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
    """Return a size such as ``64m`` in bytes, as Go's ``units.RAMInBytes`` does; None if it is none, or too large."""
    match = _SIZE.fullmatch(text)
    suffix = match and _SUFFIX.fullmatch(match["suffix"])
    number = parse_float(match["number"]) if match else None
    if not suffix or number is None or number < 0:
        return None
    size = number * _UNITS[(suffix[1] or "").lower()]
    return int(size) if size < 1 << 63 else None


def mount_from(written: Word) -> str:
    """Return what a mount names with ``from=``, the one option that is needed before words are expanded.

    Raises:
        ProgramError: it has variables.
    """
    found = ""
    for option in _options(written):
        key, value = option.key.lower(), option.value
        if value is None or key != "from":
            continue
        if re.search(r"\$.", value):
            raise errors.mount(
                f"'{key}' doesn't support variable expansion, define alias stage instead",
                "write FROM $NAME AS alias, then from=alias",
                span=written.range_span(*option.value_range),
            )
        found = written.part(*option.value_range) if value else ""
    return found


def read_device(written: Word) -> CDIDevice:
    """Read the value of one ``--device``: a CDI name, or ``name=NAME``, and ``required``. Errors point at the option.

    The first word that is not an option is the name, an equals sign in it or not. No name at all is not an error.

    Raises:
        ProgramError: an option is unknown or malformed.
    """
    try:
        options = fields(written)
    except CSVError as error:
        span = written.range_span(error.at, error.at + 1) if written else written.span
        with pointed(span):
            raise errors.device(f"failed to parse csv devices: {error}", "write --device=NAME") from None
    device = CDIDevice(name="", optional=True)
    for option in options:
        with pointed(partial(written.range_span, option.start, option.end)):
            device = _with_option(device, option)
    return device


def _with_option(device: CDIDevice, option: Field) -> CDIDevice:
    key, value = option.key.lower(), option.value
    if key == "required":
        return replace(device, optional=value is not None and not _device_required(value))
    if key == "name" and value is not None:
        if device.name:
            message = f"device name already set to {device.name}"
            raise errors.device(message, "repeat --device for each device")
        return replace(device, name=value)
    if not device.name:
        return replace(device, name=option.text)
    if value is None:
        message = f"invalid field '{option.text}' must be a key=value pair"
        raise errors.device(message, "repeat --device for each device")
    message = f"unexpected key '{key}' in '{option.text}'{did_you_mean(key, _DEVICE_KEYS)}"
    raise errors.device(message, f"valid options: {', '.join(_DEVICE_KEYS)}")


def _device_required(value: str) -> bool:
    found = parse_bool(value)
    if found is None:
        raise errors.device(f"invalid value for required: {value}", "write true or false")
    return found
