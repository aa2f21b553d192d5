# SPDX-License-Identifier: Apache-2.0
"""The image config as BuildKit writes it: key order, omissions and escapes of Go's encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from llb.ops import Platform

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"


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

    def set_env(self, key: str, value: str) -> None:
        """Set a variable where it stands, or at the end."""
        for number, item in enumerate(self.env):
            if item.partition("=")[0] == key:
                self.env[number] = f"{key}={value}"
                return
        self.env.append(f"{key}={value}")

    def has_env(self, key: str) -> bool:
        """Tell whether a variable is set."""
        return any(item.partition("=")[0] == key for item in self.env)


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
            return _read(json.loads(data))
        except (AttributeError, TypeError, KeyError) as error:
            raise ValueError(f"the image config has not the form of one: {error}") from None

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


def _read(raw: dict[str, Any]) -> Image:
    rootfs, config = raw.get("rootfs") or {}, raw.get("config") or {}
    health = config.get("Healthcheck")
    diff_ids = rootfs.get("diff_ids")
    return Image(
        platform=Platform(
            architecture=raw.get("architecture") or "",
            os=raw.get("os") or "",
            variant=raw.get("variant") or "",
            os_version=raw.get("os.version") or "",
            os_features=tuple(raw.get("os.features") or ()),
        ),
        created=raw.get("created") or "",
        author=raw.get("author") or "",
        rootfs_type=rootfs.get("type") or "",
        diff_ids=list(diff_ids) if diff_ids is not None else None,
        history=[
            History(
                created=entry.get("created") or "",
                created_by=entry.get("created_by") or "",
                author=entry.get("author") or "",
                comment=entry.get("comment") or "",
                empty_layer=bool(entry.get("empty_layer")),
            )
            for entry in raw.get("history") or ()
        ],
        config=ContainerConfig(
            user=config.get("User") or "",
            exposed_ports=set(config.get("ExposedPorts") or ()),
            env=list(config.get("Env") or ()),
            entrypoint=list(config.get("Entrypoint") or ()),
            cmd=list(config.get("Cmd") or ()),
            volumes=set(config.get("Volumes") or ()),
            working_dir=config.get("WorkingDir") or "",
            labels=dict(config.get("Labels") or {}),
            stop_signal=config.get("StopSignal") or "",
            args_escaped=bool(config.get("ArgsEscaped")),
            healthcheck=_read_health(health) if health is not None else None,
            on_build=list(config.get("OnBuild") or ()),
            shell=list(config.get("Shell") or ()),
        ),
    )


def _read_health(raw: dict[str, Any]) -> HealthConfig:
    return HealthConfig(
        test=tuple(raw.get("Test") or ()),
        interval=int(raw.get("Interval") or 0),
        timeout=int(raw.get("Timeout") or 0),
        start_period=int(raw.get("StartPeriod") or 0),
        start_interval=int(raw.get("StartInterval") or 0),
        retries=int(raw.get("Retries") or 0),
    )


def go_json(value: object) -> bytes:
    """Return compact JSON with the escapes of Go's encoder; text that is not UTF-8 becomes U+FFFD."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return (
        "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()
        if not text.isascii()
        else text.encode()
    )
