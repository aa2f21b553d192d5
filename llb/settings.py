# SPDX-License-Identifier: Apache-2.0
"""What a state carries from step to step beside its filesystem: environment, directory, user, ..."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llb import platform as platforms
from llb.errors import StateError
from llb.ops import HostIP, NetMode, Platform, SecurityMode, Ulimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings in force for the next step. ``env`` keeps the order of last assignment."""

    env: tuple[tuple[str, str], ...] = ()
    dir: str = "/"
    user: str = ""
    hostname: str = ""
    network: NetMode = NetMode.UNSET
    security: SecurityMode = SecurityMode.SANDBOX
    platform: Platform | None = None
    extra_hosts: tuple[HostIP, ...] = ()
    ulimit: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""

    def with_env(self, key: str, value: str) -> Settings:
        """Set a variable; it moves to the end."""
        return replace(self, env=(*((k, v) for k, v in self.env if k != key), (key, value)))

    def with_dir(self, path: str) -> Settings:
        """Change the directory; a relative path is below the current one, an absolute one stays as it is written."""
        if not path.startswith("/"):
            path = posixpath.normpath(posixpath.join("/", self.dir, path)).replace("//", "/")
        return replace(self, dir=path)

    def set(self, **fields: Any) -> Settings:
        """Replace fields."""
        return replace(self, **fields)


Change = Callable[[Settings], Settings]


@dataclass(frozen=True, slots=True)
class Carried:
    """Settings that may depend on a platform that is still open.

    ``settled`` holds them if nothing is open; otherwise ``base`` gives them for a platform, and ``changes`` follow.
    """

    settled: Settings = Settings()
    base: Callable[[Platform], Settings] | None = None
    changes: tuple[Change, ...] = ()

    def then(self, change: Change) -> Carried:
        """Return the settings with one more change."""
        if self.base is None:
            return Carried(change(self.settled))
        return Carried(self.settled, self.base, (*self.changes, change))

    def at(self, platform: Platform) -> Settings:
        """Return the settings for a platform."""
        if self.base is None:
            return self.settled
        settings = self.base(platform)
        for change in self.changes:
            settings = change(settings)
        return settings


def image_settings(config: bytes | str) -> Change:
    """Return the change that an image config makes to settings.

    Raises:
        StateError: it is no image config.
    """
    try:
        data = json.loads(config)
        inner = data.get("config") or {}
        env = [str(item).partition("=") for item in inner.get("Env") or []]
        folder = str(inner.get("WorkingDir") or "/")
        platform = None
        if data.get("os") and data.get("architecture"):
            platform = platforms.normalize(
                Platform(architecture=data["architecture"], os=data["os"], variant=data.get("variant") or "")
            )
    except (ValueError, AttributeError, TypeError) as error:
        raise StateError(f"not an image config: {error}") from error

    def change(settings: Settings) -> Settings:
        for key, _, value in env:
            if key:
                settings = settings.with_env(key, value)
        settings = settings.with_dir(folder)
        return settings.set(platform=platform) if platform is not None else settings

    return change
