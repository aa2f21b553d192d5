# SPDX-License-Identifier: Apache-2.0
"""The settings of a state besides its filesystem: environment, directory, user, ..."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llbkit.llb.errors import StateError
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import HostIP, NetMode, Platform, SecurityMode, Ulimit
from llbkit.records import dataclass


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
    image: str = ""

    def with_env(self, key: str, value: str) -> Settings:
        """Set a variable; it moves to the end."""
        return self.with_envs({key: value})

    def with_envs(self, values: Mapping[str, str]) -> Settings:
        """Set variables, one after the other; they move to the end. Cost: all variables, old and new, once."""
        return replace(self, env=(*(pair for pair in self.env if pair[0] not in values), *values.items()))

    def with_dir(self, path: str) -> Settings:
        """Change the directory; a relative path is below the current one, an absolute one stays as it is written."""
        if not path.startswith("/"):
            path = posixpath.normpath(posixpath.join("/", self.dir, path)).replace("//", "/")
        return replace(self, dir=path)

    def set(self, **fields: Any) -> Settings:
        """Replace fields."""
        return replace(self, **fields)


NO_SETTINGS = Settings()
Change = Callable[[Settings], Settings]


class LazySettings:
    """Settings that may depend on a platform that is still open. Immutable; compared by identity.

    ``fixed`` holds them if nothing is open; otherwise ``base`` gives them for a platform, and changes may follow.
    """

    __slots__ = ("_base", "_before", "_change", "_fixed", "_known")

    def __init__(
        self, fixed: Settings = NO_SETTINGS, base: Callable[[Platform], Settings] | None = None
    ) -> None:
        self._fixed = fixed
        self._base = base
        self._before: LazySettings | None = None
        self._change: Change | None = None
        self._known: dict[Platform, Settings] = {}

    def __repr__(self) -> str:
        return f"LazySettings({self._fixed!r})" if self._base is None else "LazySettings(open)"

    def then(self, change: Change) -> LazySettings:
        """Return the settings with one more change."""
        if self._base is None:
            return LazySettings(change(self._fixed))
        after = LazySettings(base=self._base)
        after._before, after._change = self, change
        return after

    def at(self, platform: Platform) -> Settings:
        """Return the settings for a platform; those of the step before help, so a chain of steps costs linear time."""
        if self._base is None:
            return self._fixed
        changes: list[Change] = []
        at: LazySettings = self
        while at._change is not None and at._before is not None and platform not in at._known:
            changes.append(at._change)
            at = at._before
        known = at._known.get(platform)
        settings = known if known is not None else self._base(platform)
        for change in reversed(changes):
            settings = change(settings)
        self._known[platform] = settings
        return settings


def canonical_ip(text: str) -> str:
    """Return an IP address as Go writes it; what is none stays as it is."""
    import ipaddress

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def image_settings(config: bytes | str) -> Change:
    """Return the change that an image config makes to settings.

    Raises:
        StateError: not an image config.
    """
    text = config if isinstance(config, str) else config.decode("utf-8", "replace")
    try:
        data = json.loads(text)
        inner = data.get("config") or {}
        env = [str(item).partition("=") for item in inner.get("Env") or []]
        folder = str(inner.get("WorkingDir") or "")
        platform = None
        if data.get("os") and data.get("architecture"):
            platform = platforms.normalize(
                Platform(
                    architecture=data["architecture"],
                    os=data["os"],
                    variant=data.get("variant") or "",
                    os_version=data.get("os.version") or "",
                    os_features=tuple(data.get("os.features") or ()),
                )
            )
    except (ValueError, AttributeError, TypeError) as error:
        raise StateError(f"not an image config: {error}") from error

    def change(settings: Settings) -> Settings:
        for key, _, value in env:
            if key:
                settings = settings.with_env(key, value)
        settings = settings.with_dir(folder) if folder else settings
        settings = settings.set(image=text)
        return settings.set(platform=platform) if platform is not None else settings

    return change
