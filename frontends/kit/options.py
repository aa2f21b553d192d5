# SPDX-License-Identifier: Apache-2.0
"""The frontend attributes that a client sends, read and checked once for all platforms."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import cast

from llbkit.frontends.base import ResolveMode
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.golang.json import json_kind, read_json
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_bool, read_int
from llbkit.frontends.kit.golang.utf8 import is_utf8
from llbkit.frontends.kit.values.limits import read_limits
from llbkit.llb.builder.settings import canonical_ip
from llbkit.llb.ir.graph import LinuxResources
from llbkit.llb.ir.ops import HostIP, NetMode, Platform, ProxyEnv, Ulimit
from llbkit.records import dataclass

_BUILD_ARG, _LABEL = "build-arg:", "label:"
_NETWORKS = {
    "": NetMode.UNSET,
    "sandbox": NetMode.UNSET,
    "host": NetMode.HOST,
    "none": NetMode.NONE,
}
_LIMITS = frozenset(
    {
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
        "rttime", "sigpending", "stack",
    }
)  # fmt: skip
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the attributes mean. ``no_cache`` None uses the cache, an empty tuple ignores it for every stage."""

    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str
    filename: str
    platforms: tuple[Platform, ...]
    build_platforms: tuple[Platform, ...]
    multi_platform: bool
    resolve_mode: ResolveMode
    no_cache: tuple[str, ...] | None
    extra_hosts: tuple[HostIP, ...]
    shm_size: int
    ulimits: tuple[Ulimit, ...]
    cgroup_parent: str
    network: NetMode
    hostname: str
    resources: LinuxResources | None
    proxy: ProxyEnv | None
    cache_namespace: str
    caps: frozenset[str] | None

    def supports(self, cap: str) -> bool:
        """Return whether the receiver of the graph has a capability."""
        return self.caps is None or cap in self.caps

    def ignores_cache(self, stage: str) -> bool:
        """Return whether a stage's steps run again."""
        if self.no_cache is None:
            return False
        return not self.no_cache or any(name.lower() == stage.lower() for name in self.no_cache)


def read_options(
    attrs: Mapping[str, str],
    build_platforms: Sequence[Platform],
    caps: frozenset[str] | None,
    *,
    filename: str,
) -> Options:
    """Read the attributes; ``filename`` is what the language's files are called where none is named.

    Raises:
        ProgramError: one is malformed.
    """
    _check_utf8(attrs)
    build_args = {k.removeprefix(_BUILD_ARG): v for k, v in attrs.items() if k.startswith(_BUILD_ARG)}
    _check_removed(attrs, build_args)
    # In BuildKit's order, which decides what is reported first.
    wanted = _platforms(attrs.get("platform", ""))
    resolve_mode = _resolve_mode(attrs.get("image-resolve-mode", ""))
    extra_hosts = _hosts(attrs.get("add-hosts", ""))
    shm_size = _shm_size(attrs.get("shm-size", ""))
    ulimits = _ulimits(attrs.get("ulimit", ""))
    network = _network(attrs.get("force-network-mode", ""))
    resources = read_limits(attrs)
    multi_platform = _multi(attrs, build_args, len(wanted) > 1)
    _check_imports(attrs.get("cache-imports", ""))
    return Options(
        build_args=build_args,
        labels={k.removeprefix(_LABEL): v for k, v in attrs.items() if k.startswith(_LABEL)},
        target=attrs.get("target", ""),
        filename=attrs.get("filename", filename),
        platforms=wanted,
        build_platforms=tuple(build_platforms),
        multi_platform=multi_platform,
        resolve_mode=resolve_mode,
        no_cache=_no_cache(attrs.get("no-cache")),
        extra_hosts=extra_hosts,
        shm_size=shm_size,
        ulimits=ulimits,
        cgroup_parent=attrs.get("cgroup-parent", ""),
        network=network,
        hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or attrs.get("hostname", ""),
        resources=resources,
        proxy=_proxy(build_args),
        cache_namespace=build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
        caps=caps,
    )


def _check_removed(attrs: Mapping[str, str], build_args: Mapping[str, str]) -> None:
    """Refuse options of old that would change what is built."""
    if attrs.get("override-copy-image"):
        raise errors.option('support for "override-copy-image" was removed in BuildKit 0.11')
    if parse_bool(build_args.get("BUILDKIT_DISABLE_FILEOP", "")):
        message = 'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11'
        raise errors.option(message, "remove the build argument")


def _check_utf8(attrs: Mapping[str, str]) -> None:
    for key, value in attrs.items():
        if not (is_utf8(key) and is_utf8(value)):
            message = f"option {go_quote(key)} is not UTF-8: {go_quote(value)}"
            raise errors.option(message, "pass it as UTF-8; check the locale")


def _platforms(text: str) -> tuple[Platform, ...]:
    out = []
    for part in text.split(",") if text else ():
        try:
            out.append(platforms.normalize(platforms.parse(part)))
        except platforms.SpecifierError as error:
            raise errors.option(
                f"failed to parse target platform {part}: {error}",
                "write for example linux/amd64,linux/arm64",
            ) from None
    return tuple(out)


def _multi(attrs: Mapping[str, str], build_args: Mapping[str, str], several: bool) -> bool:
    """Return whether the result is a map of platforms; ``several``: more than one is wanted."""
    text = build_args.get("BUILDKIT_MULTI_PLATFORM") or attrs.get("multi-platform", "")
    if not text:
        return several
    found = parse_bool(text)
    if found is None:
        raise errors.option(f"invalid boolean value for multi-platform: {text}", "write true or false")
    if several and not found:
        raise errors.option(
            "conflicting config: returning multiple target platforms is not allowed", "choose one platform"
        )
    return found


def _check_imports(text: str) -> None:
    """Refuse caches to import from that are no JSON list; they are used by the engine, not here."""
    try:
        value = read_json(text) if text else None
    except ValueError as error:
        cause = str(error)
    else:
        if value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            return
        kind = json_kind(value)
        cause = f"json: cannot unmarshal {kind} into Go value of type []*moby_buildkit_v1.CacheOptionsEntry"
    raise errors.option(f"failed to unmarshal cache-imports ({go_quote(text)}): {cause}")


def _resolve_mode(text: str) -> ResolveMode:
    if text not in ("", "default", "pull", "local"):
        raise errors.option(f"invalid image-resolve-mode: {text}", "valid modes: default, pull, local")
    return cast("ResolveMode", text or "default")


def _no_cache(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(text.split(",")) if text else ()


def _fields(text: str, what: str) -> list[str]:
    # The grammar is loaded for options that need it only.
    from llbkit.frontends.kit.golang import csv

    try:
        return csv.texts(text)
    except csv.CSVError as error:
        raise errors.option(f"failed to parse {what}: {error}") from None


def _hosts(text: str) -> tuple[HostIP, ...]:
    out = []
    for field in _fields(text, "additional hosts") if text else ():
        host, equals, address = field.lower().partition("=")
        if not equals:
            raise errors.option(
                f"failed to parse additional hosts: invalid key-value pair {field}",
                "write host=ip",
            )
        try:
            if "%" in address:
                raise ValueError(address)
            ip = ipaddress.ip_address(address)
        except ValueError:
            raise errors.option(
                f"failed to parse additional hosts: failed to parse IP {address}",
                "write host=ip",
            ) from None
        out.append(HostIP(host=host, ip=canonical_ip(str(ip))))
    return tuple(out)


def _shm_size(text: str) -> int:
    try:
        return read_int(text) if text else 0
    except ValueError as error:
        raise errors.option(f"failed to parse shm size: {error}", "write a number of bytes") from None


def _ulimits(text: str) -> tuple[Ulimit, ...]:
    return tuple(_ulimit(field) for field in _fields(text, "ulimit")) if text else ()


def _ulimit(field: str) -> Ulimit:
    name, equals, limits = field.partition("=")
    hint = "write name=soft[:hard], for example nofile=1024:2048"
    if not equals:
        raise errors.option(f"failed to parse ulimit: invalid ulimit argument: {field}", hint)
    if name not in _LIMITS:
        raise errors.option(
            f"failed to parse ulimit: invalid ulimit type: {name}",
            f"valid types: {', '.join(sorted(_LIMITS))}",
        )
    values = limits.split(":")
    if len(values) > 2:
        message = f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        raise errors.option(f"failed to parse ulimit: {message}", hint)
    try:
        hard, soft = read_int(values[-1]), read_int(values[0])
    except ValueError as error:
        raise errors.option(f"failed to parse ulimit: {error}", hint) from None
    if hard != -1 and (soft == -1 or soft > hard):
        found = f"soft: -1 (unlimited), hard: {hard}" if soft == -1 else f"{soft} > {hard}"
        message = f"ulimit soft limit must be less than or equal to hard limit: {found}"
        raise errors.option(f"failed to parse ulimit: {message}", hint)
    return Ulimit(name=name, soft=soft, hard=hard)


def _network(text: str) -> NetMode:
    if text not in _NETWORKS:
        raise errors.option(f"invalid netmode {text}", "valid modes: sandbox, host, none")
    return _NETWORKS[text]


def _proxy(build_args: Mapping[str, str]) -> ProxyEnv | None:
    """Return the proxies; of several spellings the last in order counts, so that in lower case."""
    given = {key.lower(): build_args[key] for key in sorted(build_args) if key.lower() in _PROXIES}
    return ProxyEnv(**given) if given else None
