# SPDX-License-Identifier: Apache-2.0
"""The image config as BuildKit writes it: key order, omissions and escapes of Go's encoder."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

from llb.ops import Platform

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WINDOWS_PATH = "c:\\Windows\\System32;c:\\Windows"
_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "ArgsEscaped",
    "Memory", "MemorySwap", "CpuShares", "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
_HEALTH_KEYS = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_HISTORY_KEYS = ("created", "created_by", "author", "comment", "empty_layer")
COMMENT = "buildkit.dockerfile.v0"


@dataclass(slots=True)
class Image:
    """An image config being built. ``config`` has the keys of the specification and Docker's extensions."""

    platform: Platform
    author: str = ""
    created: str = ""
    rootfs: dict[str, Any] = field(default_factory=lambda: {"type": "layers", "diff_ids": None})
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(cls, platform: Platform) -> Image:
        """Return the config of ``scratch``."""
        path = WINDOWS_PATH if platform.os == "windows" else DEFAULT_PATH
        return cls(platform=platform, config={"Env": [f"PATH={path}"], "WorkingDir": "/"})

    @classmethod
    def read(cls, data: bytes) -> Image:
        """Read a config.

        Raises:
            ValueError: it is not JSON, or no object.
        """
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise ValueError("the image config is no JSON object")
        platform = Platform(
            architecture=raw.get("architecture") or "",
            os=raw.get("os") or "",
            variant=raw.get("variant") or "",
            os_version=raw.get("os.version") or "",
            os_features=tuple(raw.get("os.features") or ()),
        )
        rootfs = raw.get("rootfs") or {}
        return cls(
            platform=platform,
            author=raw.get("author") or "",
            created=raw.get("created") or "",
            rootfs={"type": rootfs.get("type", ""), "diff_ids": rootfs.get("diff_ids")},
            history=[dict(entry) for entry in raw.get("history") or []],
            config={key: value for key, value in (raw.get("config") or {}).items() if key in _CONFIG_KEYS},
        )

    def clone(self) -> Image:
        """Return a copy that shares nothing."""
        return copy.deepcopy(self)

    def commit(self, created_by: str, *, layer: bool, epoch: str = "") -> None:
        """Add a history entry."""
        entry: dict[str, Any] = {"created_by": created_by, "comment": COMMENT}
        if epoch:
            entry["created"] = epoch
        if not layer:
            entry["empty_layer"] = True
        self.history.append(entry)

    def encode(self) -> bytes:
        """Return the JSON that BuildKit writes."""
        out: dict[str, Any] = {}
        if self.created:
            out["created"] = self.created
        if self.author:
            out["author"] = self.author
        out |= {"architecture": self.platform.architecture, "os": self.platform.os}
        if self.platform.os_version:
            out["os.version"] = self.platform.os_version
        if self.platform.os_features:
            out["os.features"] = list(self.platform.os_features)
        if self.platform.variant:
            out["variant"] = self.platform.variant
        out["rootfs"] = self.rootfs
        if self.history:
            out["history"] = [_ordered(entry, _HISTORY_KEYS) for entry in self.history]
        out["config"] = self._config()
        return go_json(out)

    def _config(self) -> dict[str, Any]:
        config = {
            key: value for key, value in self.config.items() if value not in (None, "", [], {}, False, 0)
        }
        for key in ("ExposedPorts", "Volumes", "Labels"):
            if key in config:
                config[key] = dict(sorted(config[key].items()))
        if "Healthcheck" in config:
            config["Healthcheck"] = _ordered(config["Healthcheck"], _HEALTH_KEYS)
        return _ordered(config, _CONFIG_KEYS)


def _ordered(value: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value and value[key] not in ("", False, None)}


def go_json(value: object) -> bytes:
    """Return compact JSON with the escapes of Go's encoder."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "replace")
