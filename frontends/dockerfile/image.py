# SPDX-License-Identifier: Apache-2.0
"""The image config as BuildKit writes it: key order, omissions and escapes of Go's encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

from frontends.dockerfile.gojson import go_json
from frontends.dockerfile.utf8 import replaced
from llb.ops import Platform

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"
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
        """Tell whether a variable is set."""
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
        try:
            raw = json.loads(replaced(data.decode("utf-8", "surrogateescape")), object_pairs_hook=_object)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return _read(_Members(raw, ""))

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

    def commit(self, created_by: str, *, layer: bool, created: str = "") -> None:
        """Add a history entry."""
        self.history.append(
            History(
                created=created,
                created_by=created_by,
                comment=COMMENT,
                empty_layer=not layer,
            )
        )

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

    Raises:
        ValueError: it is no object, or a member has another type.
    """

    def __init__(self, raw: object, path: str) -> None:
        if raw is not None and not isinstance(raw, dict):
            raise ValueError(f"{path or 'the config'} must be an object")
        self._raw: dict[str, Any] = raw or {}
        self._path = path

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def text(self, key: str) -> str:
        return self._typed(key, str, "a string", "")

    def number(self, key: str) -> int:
        value = self._typed(key, int, "a number", 0)
        return self._wrong(key, "a number") if isinstance(value, bool) else value

    def flag(self, key: str) -> bool:
        return self._typed(key, bool, "true or false", False)

    def texts(self, key: str) -> list[str]:
        items = self._typed(key, list, "a list of strings", [])
        if not all(item is None or isinstance(item, str) for item in items):
            self._wrong(key, "a list of strings")
        return [item or "" for item in items]

    def names(self, key: str) -> set[str]:
        return set(self._typed(key, dict, "an object", {}))

    def pairs(self, key: str) -> dict[str, str]:
        items = self._typed(key, dict, "an object of strings", {})
        if not all(item is None or isinstance(item, str) for item in items.values()):
            self._wrong(key, "an object of strings")
        return {name: item or "" for name, item in items.items()}

    def inner(self, key: str) -> _Members:
        return _Members(self._raw.get(key), self._full(key))

    def each(self, key: str) -> list[_Members]:
        return [_Members(item, self._full(key)) for item in self._typed(key, list, "a list", [])]

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _typed(self, key: str, kind: type[T], what: str, empty: T) -> T:
        value = self._raw.get(key)
        if value is None:
            return empty
        return value if isinstance(value, kind) else self._wrong(key, what)

    def _wrong(self, key: str, what: str) -> NoReturn:
        raise ValueError(f"{self._full(key)} must be {what}")


def _read(raw: _Members) -> Image:
    rootfs, config = raw.inner("rootfs"), raw.inner("config")
    return Image(
        platform=Platform(
            architecture=raw.text("architecture"),
            os=raw.text("os"),
            variant=raw.text("variant"),
            os_version=raw.text("os.version"),
            os_features=tuple(raw.texts("os.features")),
        ),
        created=raw.text("created"),
        author=raw.text("author"),
        rootfs_type=rootfs.text("type"),
        diff_ids=rootfs.texts("diff_ids") if rootfs.has("diff_ids") else None,
        history=[
            History(
                created=entry.text("created"),
                created_by=entry.text("created_by"),
                author=entry.text("author"),
                comment=entry.text("comment"),
                empty_layer=entry.flag("empty_layer"),
            )
            for entry in raw.each("history")
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
            healthcheck=_read_health(config.inner("Healthcheck")) if config.has("Healthcheck") else None,
            on_build=config.texts("OnBuild"),
            shell=config.texts("Shell"),
        ),
    )


def _read_health(raw: _Members) -> HealthConfig:
    return HealthConfig(
        test=tuple(raw.texts("Test")),
        interval=raw.number("Interval"),
        timeout=raw.number("Timeout"),
        start_period=raw.number("StartPeriod"),
        start_interval=raw.number("StartInterval"),
        retries=raw.number("Retries"),
    )
