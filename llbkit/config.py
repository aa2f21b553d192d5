# SPDX-License-Identifier: Apache-2.0
"""Settings: one source of defaults, read from ``config.toml`` and the environment.

Precedence: command line, environment (``LLBKIT_*``), ``$LLBKIT_CONFIG`` or ``~/.config/llbkit/config.toml``, defaults.

    root = "/var/lib/llbkit"
    runtime = "crun"              # crun, runc or a path; default: the fastest that works
    snapshotter = "overlay"       # overlay or native; default: overlay where it works
    passes = "on"                 # off: solve graphs as they were written (docs/passes.md)

    [parallel]
    exec = 4

    [registry."docker.io"]
    mirrors = ["127.0.0.1:5000"]
    http = true                   # plain HTTP
    insecure = true               # do not verify certificates
    ca = "/etc/ssl/own.pem"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llbkit.records import dataclass


class ConfigError(Exception):
    """The configuration file or environment says something that cannot be used. The message is for users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How to reach one registry host."""

    mirrors: tuple[str, ...] = ()
    http: bool = False
    insecure: bool = False
    ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with its default. ``parallel`` holds the sizes of the named resources."""

    root: Path
    runtime: str = ""
    snapshotter: str = ""
    passes: str = "on"
    parallel: Mapping[str, int] = field(default_factory=lambda: default_parallel())  # noqa: PLW0108
    registries: Mapping[str, RegistrySettings] = field(default_factory=lambda: MappingProxyType({}))


def default_parallel() -> Mapping[str, int]:
    """Return how many of each kind of work run at once: a function of the number of processors."""
    cores = os.cpu_count() or 1
    return MappingProxyType({"exec": cores * 2, "disk": cores * 2, "net": 8, "cpu": cores})


def default_root() -> Path:
    """Return the state directory: ``/var/lib/llbkit`` for root, below ``$XDG_DATA_HOME`` for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/llbkit")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "llbkit"


MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "root": "State directory. Default: /var/lib/llbkit for root, ~/.local/share/llbkit for others. $LLBKIT_ROOT, --root.",
        "runtime": "OCI runtime: crun, runc or a path. Default: the fastest that works here. $LLBKIT_RUNTIME.",
        "snapshotter": "overlay or native. Default: overlay where it works. $LLBKIT_SNAPSHOTTER.",
        "passes": "on or off: whether graphs are optimized before they are solved. Default: on. $LLBKIT_PASSES.",
        "parallel": "Limits on concurrent steps (exec), transfers (net), copies (disk) and compressions (cpu).",
        "registry": 'One table for each host, [registry."HOST"], with mirrors, http, insecure and ca.',
        "registry.mirrors": 'Hosts to try first for this host\'s images, in order: ["127.0.0.1:5000"].',
        "registry.http": "true: use plain HTTP for this host. Default: only for loopback addresses without TLS.",
        "registry.insecure": "true: do not verify this host's certificate.",
        "registry.ca": "PEM file with the certificate authority of this host.",
    }
)
"""Every setting, and what it means."""


def default_path() -> Path:
    """Return where the configuration file is looked for if $LLBKIT_CONFIG is not set."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "llbkit" / "config.toml"


def path_in_use() -> Path | None:
    """Return the configuration file that is read; None if there is none."""
    if named := os.environ.get("LLBKIT_CONFIG"):
        return Path(named)
    return path if (path := default_path()).exists() else None


def origins(*, root: Path | None = None) -> Mapping[str, str]:
    """Return where each top-level setting comes from: a flag, a variable, the file, or the default.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = path_in_use()
    in_file = _table(path) if path is not None else {}
    out = {key: str(path) if key in in_file else "the default" for key in _KEYS}
    out |= {key: name for key in _KEYS if os.environ.get(name := f"LLBKIT_{key.upper()}")}
    return out | ({"root": "--root"} if root is not None else {})


def load(*, root: Path | None = None) -> Settings:
    """Return the settings in force; ``root`` comes from the command line and wins.

    Raises:
        ConfigError: the file cannot be read or holds a wrong key or type.
    """
    settings = Settings(root=default_root())
    path = path_in_use()
    if path is not None:
        settings = _from_file(settings, path)
    for key in ("runtime", "snapshotter", "passes"):
        if value := os.environ.get(f"LLBKIT_{key.upper()}"):
            settings = replace(settings, **{key: value})  # type: ignore[arg-type]
    if settings.passes not in ("on", "off"):
        raise ConfigError(f"passes: {settings.passes!r} is not on or off")
    root = root or (Path(os.environ["LLBKIT_ROOT"]) if os.environ.get("LLBKIT_ROOT") else None)
    return replace(settings, root=(root or settings.root).absolute())


def _table(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _from_file(settings: Settings, path: Path) -> Settings:
    known: dict[str, Any] = {}
    for key, value in _table(path).items():
        match key:
            case "root":
                known[key] = Path(_typed(path, key, value, str)).expanduser()
            case "runtime" | "snapshotter" | "passes":
                known[key] = _typed(path, key, value, str)
            case "parallel":
                sizes = dict(settings.parallel)
                for name, size in _typed(path, key, value, dict).items():
                    if name not in sizes:
                        raise ConfigError(f"{path}: parallel.{name} is not one of {', '.join(sizes)}")
                    sizes[name] = max(1, _typed(path, f"parallel.{name}", size, int))
                known[key] = sizes
            case "registry":
                known["registries"] = {
                    host: _registry(path, host, entry)
                    for host, entry in _typed(path, key, value, dict).items()
                }
            case _:
                raise ConfigError(f"{path}: unknown key {key!r}; valid keys: {', '.join(sorted(_KEYS))}")
    return replace(settings, **known)


_KEYS = ("root", "runtime", "snapshotter", "passes", "parallel", "registry")


def _registry(path: Path, host: str, entry: object) -> RegistrySettings:
    table = _typed(path, f'registry."{host}"', entry, dict)
    fields: dict[str, Any] = {}
    for key, value in table.items():
        match key:
            case "mirrors":
                items = _typed(path, key, value, list)
                fields[key] = tuple(_typed(path, key, item, str) for item in items)
            case "http" | "insecure":
                fields[key] = _typed(path, key, value, bool)
            case "ca":
                fields[key] = _typed(path, key, value, str)
            case _:
                raise ConfigError(f'{path}: unknown key {key!r} in registry."{host}"')
    return RegistrySettings(**fields)


def _typed(path: Path, key: str, value: object, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{path}: {key} must be a {kind.__name__}, not {type(value).__name__}")
    return value
