# SPDX-License-Identifier: Apache-2.0
"""Platform specifiers as ``FROM --platform`` and the build's options read them, with containerd's messages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.llb.address.gourl import URLError, unescape
from llbkit.llb.ir.ops import Platform
from llbkit.llb.ir.platform import default, normalize

_SYSTEM = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$"
_COMPONENT = r"^[A-Za-z0-9_.-]+$"
_SYSTEM_PATTERN, _COMPONENT_PATTERN = re.compile(_SYSTEM), re.compile(_COMPONENT)
_SYSTEMS = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
        "zos",
    ]
)
_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "ppc64",
        "ppc64le",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    ]
)


NAMES = _SYSTEMS | _ARCHITECTURES
"""What a platform may be called by one word."""


class SpecifierError(ValueError):
    """Invalid platform; the message is containerd's."""

    def __init__(self, message: str, kind: str = ": invalid argument") -> None:
        super().__init__(message + kind)


def parse(text: str) -> Platform:
    """Return the platform that ``os/arch[/variant]``, ``os`` or ``arch`` names, its aliases resolved.

    A variant that was not written is not filled in: `normalize` does that where BuildKit does.

    Raises:
        SpecifierError: it is none.
    """
    if "*" in text:
        raise SpecifierError(f"{go_quote(text)}: wildcards not yet supported")
    parts = text.split("/", 3)
    system = _SYSTEM_PATTERN.match(parts[0])
    if system is None:
        raise SpecifierError(
            f"{go_quote(parts[0])} is an invalid OS component of {go_quote(text)}: OSAndVersion specifier component "
            f"must match {go_quote(_SYSTEM)}"
        )
    for part in parts[1:]:
        if not _COMPONENT_PATTERN.match(part):
            raise SpecifierError(
                f"{go_quote(part)} is an invalid component of {go_quote(text)}: platform specifier component must "
                f"match {go_quote(_COMPONENT)}"
            )
    version, features = _version(text, system[2] or ""), _features(text, system[3] or "")
    name = _system(system[1])
    if len(parts) == 1:
        return _single(text, parts[0], name, version, features)
    if len(parts) > 3:
        raise SpecifierError(f"{go_quote(text)}: cannot parse platform specifier")
    known = normalize(Platform(os=name, architecture=parts[1], variant=parts[2] if len(parts) == 3 else ""))
    variant = known.variant
    if len(parts) == 2 and known.architecture == "arm" and variant == "v7":
        variant = ""
    if len(parts) == 3 and known.architecture == "arm64" and not variant:
        variant = "v8"
    return Platform(
        os=name,
        architecture=known.architecture,
        variant=variant,
        os_version=version,
        os_features=features,
    )


def _version(text: str, written: str) -> str:
    try:
        return unescape(written)
    except URLError as error:
        message = f"{go_quote(text)} has an invalid OS version {go_quote(written)}: {error}"
        raise SpecifierError(message, "") from None


def _features(text: str, written: str) -> tuple[str, ...]:
    found = set()
    for feature in written.split("+")[1:]:
        try:
            found.add(unescape(feature))
        except URLError as error:
            message = (
                f"{go_quote(text)} has invalid OS features: invalid os feature {go_quote(feature)}: {error}"
            )
            raise SpecifierError(message, "") from None
    return tuple(sorted(found))


def _single(text: str, part: str, system: str, version: str, features: tuple[str, ...]) -> Platform:
    if system in _SYSTEMS:
        host = default()
        return Platform(
            os=system,
            architecture=host.architecture,
            os_version=version,
            os_features=features,
        )
    known = normalize(Platform(os="linux", architecture=part))
    if known.architecture not in _ARCHITECTURES:
        raise SpecifierError(f"{go_quote(text)}: unknown operating system or architecture")
    variant = "" if known.architecture == "arm" and known.variant == "v7" else known.variant
    return Platform(os="linux", architecture=known.architecture, variant=variant)


def _system(name: str) -> str:
    lower = name.lower()
    return "darwin" if lower == "macos" else lower


def format_all(platform: Platform) -> str:
    """Return ``os[(version+feature...)]/arch[/variant]``."""
    if not platform.os:
        return "unknown"
    details = "+".join(map(_escaped, (platform.os_version, *platform.os_features)))
    system = f"{platform.os}({details})" if details else platform.os
    return "/".join(part for part in (system, platform.architecture, platform.variant) if part)


def _escaped(text: str) -> str:
    return re.sub("[%/()+]", lambda match: f"%{ord(match[0]):02X}", text)


def predefined_args(
    build: Platform, target: Platform, stage: str, build_args: Mapping[str, str]
) -> dict[str, str]:
    """Return the build arguments about platforms that every program has; ``stage`` is the wanted target."""
    out: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        out[f"{prefix}PLATFORM"] = format_all(platform)
        out[f"{prefix}OS"] = platform.os
        out[f"{prefix}OSVERSION"] = platform.os_version
        out[f"{prefix}ARCH"] = platform.architecture
        out[f"{prefix}VARIANT"] = platform.variant
    out["TARGETSTAGE"] = stage or "default"
    return {key: build_args.get(key, value) for key, value in out.items()}


__all__ = ["SpecifierError", "format_all", "normalize", "parse", "predefined_args"]
