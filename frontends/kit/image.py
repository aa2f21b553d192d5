# SPDX-License-Identifier: Apache-2.0
"""The image config as BuildKit writes it: key order, omissions and escapes of Go's encoder."""

from __future__ import annotations

import re
from dataclasses import field, replace
from typing import Any, TypeVar

from llbkit.frontends.kit.golang.json import go_json, json_kind, read_json
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.utf8 import replaced
from llbkit.llb.ir.ops import Platform
from llbkit.llb.ir.platform import normalize
from llbkit.records import dataclass

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How one layer, or one change of the config, came about."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """``Healthcheck``; times in nanoseconds."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(slots=True, kw_only=True)
class ContainerConfig:
    """``config``: what a container starts with. None is the JSON null that an empty value is not."""

    user: str = ""
    exposed_ports: set[str] = field(default_factory=set)
    env: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    volumes: set[str] = field(default_factory=set)
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: HealthConfig | None = None
    on_build: list[str] = field(default_factory=list)
    shell: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _placed: int = field(default=0, init=False, repr=False, compare=False)

    def _place(self, key: str) -> int | None:
        """Return where a variable first stands in ``env``, to which items may have been added meanwhile."""
        for number in range(self._placed, len(self.env)):
            self._places.setdefault(self.env[number].partition("=")[0], number)
        self._placed = len(self.env)
        return self._places.get(key)

    def set_env(self, key: str, value: str) -> None:
        """Set a variable where it stands, or at the end."""
        place = self._place(key)
        if place is None:
            self.env.append(f"{key}={value}")
        else:
            self.env[place] = f"{key}={value}"

    def has_env(self, key: str) -> bool:
        """Return whether a variable is set."""
        return self._place(key) is not None


@dataclass(slots=True, kw_only=True)
class Image:
    """An image config while it is built."""

    platform: Platform = field(default_factory=lambda: Platform(architecture="", os=""))
    created: str = ""
    author: str = ""
    rootfs_type: str = ""
    diff_ids: list[str] | None = None
    history: list[History] = field(default_factory=list)
    config: ContainerConfig = field(default_factory=ContainerConfig)

    @classmethod
    def empty(cls, platform: Platform) -> Image:
        """Return the config of ``scratch``."""
        config = ContainerConfig(working_dir="/")
        if platform.os != "windows":
            config.env = [f"PATH={DEFAULT_PATH}"]
        return cls(platform=platform, rootfs_type="layers", config=config)

    @classmethod
    def read(cls, data: bytes) -> Image:
        """Read a config; what BuildKit does not know is dropped.

        Raises:
            ValueError: it is not JSON, or not of the form of a config.
        """
        raw = read_json(replaced(data.decode("utf-8", "surrogateescape")), _object)
        return _read(_Members(raw, _ROOT, "v1.DockerOCIImage"))

    def clone(self) -> Image:
        """Return a copy that shares nothing that can change."""
        config = replace(
            self.config,
            exposed_ports=set(self.config.exposed_ports),
            env=list(self.config.env),
            entrypoint=list(self.config.entrypoint),
            cmd=list(self.config.cmd),
            volumes=set(self.config.volumes),
            labels=dict(self.config.labels),
            on_build=list(self.config.on_build),
            shell=list(self.config.shell),
        )
        return replace(self, history=list(self.history), config=config)

    def commit(self, created_by: str, *, layer: bool, comment: str, created: str = "") -> None:
        """Add a history entry; ``comment`` names the language."""
        self.history.append(
            History(
                created=created,
                created_by=created_by,
                comment=comment,
                empty_layer=not layer,
            )
        )

    def settle(self, platform: Platform | None) -> None:
        """Say what the image is for: the platform that was asked for, with what the base knows of it; else the base's."""
        found = self.platform
        if platform is not None:
            same = (found.os, found.architecture) == (platform.os, platform.architecture)
            found = replace(
                platform,
                variant=platform.variant or (found.variant if same else ""),
                os_version=platform.os_version or (found.os_version if same else ""),
                os_features=platform.os_features or found.os_features,
            )
        self.platform = normalize(found)

    def encode(self) -> bytes:
        """Return the JSON that BuildKit writes."""
        out: dict[str, Any] = {}
        _put(out, created=self.created, author=self.author)
        out |= {"architecture": self.platform.architecture, "os": self.platform.os}
        _put(
            out,
            **{
                "os.version": self.platform.os_version,
                "os.features": list(self.platform.os_features),
            },
            variant=self.platform.variant,
        )
        out["rootfs"] = {"type": self.rootfs_type, "diff_ids": self.diff_ids}
        _put(out, history=[_history(entry) for entry in self.history])
        out["config"] = _config(self.config)
        return go_json(out)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object without the halves of surrogate pairs that escapes in its texts may leave."""
    return {replaced(key): _utf8(value) for key, value in pairs}


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return replaced(value)
    return [_utf8(item) for item in value] if isinstance(value, list) else value


def _put(out: dict[str, Any], **fields: Any) -> None:
    out.update((key, value) for key, value in fields.items() if value)


def _history(entry: History) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _put(
        out,
        created=entry.created,
        created_by=entry.created_by,
        author=entry.author,
        comment=entry.comment,
        empty_layer=entry.empty_layer,
    )
    return out


def _config(config: ContainerConfig) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _put(
        out,
        User=config.user,
        ExposedPorts={port: {} for port in sorted(config.exposed_ports)},
        Env=config.env,
        Entrypoint=config.entrypoint,
        Cmd=config.cmd,
        Volumes={path: {} for path in sorted(config.volumes)},
        WorkingDir=config.working_dir,
        Labels=dict(sorted(config.labels.items())),
        StopSignal=config.stop_signal,
        ArgsEscaped=config.args_escaped,
    )
    if config.healthcheck is not None:
        out["Healthcheck"] = _health(config.healthcheck)
    _put(out, OnBuild=config.on_build, Shell=config.shell)
    return out


def _health(health: HealthConfig) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _put(
        out,
        Test=list(health.test),
        Interval=health.interval,
        Timeout=health.timeout,
        StartPeriod=health.start_period,
        StartInterval=health.start_interval,
        Retries=health.retries,
    )
    return out


class _Members:
    """The members of a JSON object, each of the type that Go's decoder wants; null and missing are the empty value.

    Names are found in any case, and the last of equal ones counts. What is wrong is told of in the decoder's words.

    Raises:
        ValueError: not an object, or a member has another type.
    """

    def __init__(self, raw: object, path: str, kind: str) -> None:
        if raw is not None and not isinstance(raw, dict):
            raise _mismatch(raw, path, kind)
        self._raw: dict[str, Any] = {key.lower(): value for key, value in (raw or {}).items()}
        self._path = path

    def has(self, key: str) -> bool:
        return self._raw.get(key.lower()) is not None

    def text(self, key: str) -> str:
        return self._typed(key, str, "string", "")

    def time(self, key: str) -> str:
        value = self._typed(key, str, "time.Time", "")
        match = _TIME.fullmatch(value)
        if value and match is None:
            quoted = go_quote(value)
            raise ValueError(
                f'parsing time {quoted} as "2006-01-02T15:04:05Z07:00": cannot parse {quoted} as "2006"'
            )
        return match[1] + (match[2] or "").rstrip("0").rstrip(".") + match[3] if match else ""

    def number(self, key: str, kind: str) -> int:
        value = self._typed(key, object, kind, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
            raise _mismatch(value, self._full(key), kind)
        return value

    def flag(self, key: str) -> bool:
        return self._typed(key, bool, "bool", False)

    def texts(self, key: str, kind: str = "string") -> list[str]:
        items = self._typed(key, list, f"[]{kind}", [])
        for number, item in enumerate(items):
            if item is not None and not isinstance(item, str):
                raise _mismatch(item, f"{self._full(key)}.{number}", kind, struct="")
        return [item or "" for item in items]

    def names(self, key: str) -> set[str]:
        items = self._typed(key, dict, "map[string]struct {}", {})
        for name, item in items.items():
            if item is not None and not isinstance(item, dict):
                raise _mismatch(item, f"{self._full(key)}.{name}", "struct {}", struct="")
        return set(items)

    def pairs(self, key: str) -> dict[str, str]:
        items = self._typed(key, dict, "map[string]string", {})
        for name, item in items.items():
            if item is not None and not isinstance(item, str):
                raise _mismatch(item, f"{self._full(key)}.{name}", "string")
        return {name: item or "" for name, item in items.items()}

    def inner(self, key: str, kind: str) -> _Members:
        return _Members(self._raw.get(key.lower()), self._full(key), kind)

    def each(self, key: str, kind: str) -> list[_Members]:
        items = self._typed(key, list, f"[]{kind}", [])
        return [_Members(item, f"{self._full(key)}.{number}", kind) for number, item in enumerate(items)]

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}"

    def _typed(self, key: str, wanted: type[T], kind: str, empty: T) -> T:
        value = self._raw.get(key.lower())
        if value is None:
            return empty
        if not isinstance(value, wanted):
            raise _mismatch(value, self._full(key), kind)
        return value


_ROOT = "DockerOCIImage"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _mismatch(value: object, path: str, kind: str, struct: str = "Go struct field ") -> ValueError:
    """Return the error of Go's decoder for a JSON value of the wrong type."""
    found = json_kind(value)
    if found == "number" and kind in ("int", "time.Duration"):
        found += f" {value}"
    place = f"{struct}{path}" if path != _ROOT else "Go value"
    return ValueError(f"json: cannot unmarshal {found} into {place} of type {kind}")


def _read(raw: _Members) -> Image:
    rootfs, config = raw.inner("rootfs", "v1.RootFS"), raw.inner("config", "v1.DockerOCIImageConfig")
    return Image(
        platform=Platform(
            architecture=raw.text("architecture"),
            os=raw.text("os"),
            variant=raw.text("variant"),
            os_version=raw.text("os.version"),
            os_features=tuple(raw.texts("os.features")),
        ),
        created=raw.time("created"),
        author=raw.text("author"),
        rootfs_type=rootfs.text("type"),
        diff_ids=rootfs.texts("diff_ids", "digest.Digest") if rootfs.has("diff_ids") else None,
        history=[
            History(
                created=entry.time("created"),
                created_by=entry.text("created_by"),
                author=entry.text("author"),
                comment=entry.text("comment"),
                empty_layer=entry.flag("empty_layer"),
            )
            for entry in raw.each("history", "v1.History")
        ],
        config=ContainerConfig(
            user=config.text("User"),
            exposed_ports=config.names("ExposedPorts"),
            env=config.texts("Env"),
            entrypoint=config.texts("Entrypoint"),
            cmd=config.texts("Cmd"),
            volumes=config.names("Volumes"),
            working_dir=config.text("WorkingDir"),
            labels=config.pairs("Labels"),
            stop_signal=config.text("StopSignal"),
            args_escaped=config.flag("ArgsEscaped"),
            healthcheck=(
                _read_health(config.inner("Healthcheck", "v1.HealthcheckConfig"))
                if config.has("Healthcheck")
                else None
            ),
            on_build=config.texts("OnBuild"),
            shell=config.texts("Shell"),
        ),
    )


def _read_health(raw: _Members) -> HealthConfig:
    return HealthConfig(
        test=tuple(raw.texts("Test")),
        interval=raw.number("Interval", "time.Duration"),
        timeout=raw.number("Timeout", "time.Duration"),
        start_period=raw.number("StartPeriod", "time.Duration"),
        start_interval=raw.number("StartInterval", "time.Duration"),
        retries=raw.number("Retries", "int"),
    )
