# SPDX-License-Identifier: Apache-2.0
"""Docker's configuration file: registry credentials, and the proxies of builds. Secrets never appear in messages."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llbkit.records import dataclass
from llbkit.worker.base import SourceError

if TYPE_CHECKING:
    from llbkit.worker.base import CancelToken

_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_SECONDS = 60.0
_MAX_FILE = 16 << 20
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}
_PARTS: Mapping[str, type] = {"auths": dict, "credHelpers": dict, "credsStore": str, "proxies": dict}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or (``username`` "") a refresh token; ``bearer`` is a ready registry token."""

    username: str = ""
    secret: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of a Basic ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


ANONYMOUS = Credentials()


class DockerConfig:
    """``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``, read once, on first use.

    Of its credentials, ``credHelpers`` wins over ``credsStore``, which wins over ``auths``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._table: dict[str, Any] | None = None

    def credentials(self, host: str, cancel: CancelToken | None = None) -> Credentials:
        """Return what is known for a registry host, `ANONYMOUS` if nothing is.

        Raises:
            SourceError: the file is not valid, or a credential helper failed.
        """
        table = self._load()
        keys = _keys(host)
        for key in keys:
            if helper := table.get("credHelpers", {}).get(key):
                return _ask_helper(str(helper), key, cancel)
        if (helper := table.get("credsStore")) and (
            answer := _ask_helper(helper, keys[0], cancel)
        ) != ANONYMOUS:
            return answer
        auths = {_strip(key): value for key, value in table.get("auths", {}).items()}
        for key in keys:
            if (entry := auths.get(_strip(key))) is not None:
                return self._entry(key, entry)
        return ANONYMOUS

    def proxies(self, host: str = "") -> dict[str, str]:
        """Return the proxy variables of builds by their names in upper case, as Docker's client passes them along.

        They come from ``proxies.<host>`` (a daemon's address) where it is there, else from ``proxies.default``.

        Raises:
            SourceError: the file is not valid.
        """
        table = self._load().get("proxies", {})
        entry = table.get(host) or table.get("default") or {}
        if not isinstance(entry, dict):
            raise self._invalid("proxies: entry is not an object")
        out: dict[str, str] = {}
        for key, name in _PROXIES.items():
            value = entry.get(key) or ""
            if not isinstance(value, str):
                raise self._invalid(f"proxies: {key} is not a string")
            if value:
                out[name] = value
        return out

    def _entry(self, key: str, entry: object) -> Credentials:
        if not isinstance(entry, dict):
            raise self._invalid(f"the auths entry for {key} is not an object")
        texts = {}
        for name in ("username", "password", "auth", "identitytoken", "registrytoken"):
            value = entry.get(name) or ""
            if not isinstance(value, str):
                raise self._invalid(f"{name} of the auths entry for {key} is not a string")
            if not _is_text(value):
                raise self._invalid(f"{name} of the auths entry for {key} is not Unicode text")
            texts[name] = value
        username, secret = texts["username"], texts["password"]
        if texts["auth"]:
            try:
                username, _, secret = base64.b64decode(texts["auth"]).decode().rstrip("\0").partition(":")
            except ValueError as error:
                raise self._invalid(f"auth of the auths entry for {key} is not valid base64") from error
        if texts["identitytoken"]:
            return Credentials("", texts["identitytoken"])
        return Credentials(username, secret, texts["registrytoken"])

    def _file(self) -> Path:
        if self._path is not None:
            return self._path
        folder = os.environ.get("DOCKER_CONFIG")
        with suppress(RuntimeError):  # a user without a home directory has no such file
            return Path(folder or Path.home() / ".docker") / "config.json"
        return Path("/nonexistent/config.json")

    def _invalid(self, why: object) -> SourceError:
        return SourceError(
            f"cannot read Docker's configuration file {self._file()}: {why}",
            help="fix the file, or remove it and log in again: docker login",
        )

    def _load(self) -> dict[str, Any]:
        with self._lock:
            if self._table is None:
                self._table = self._read()
            return self._table

    def _read(self) -> dict[str, Any]:
        try:
            with self._file().open("rb") as stream:
                data = stream.read(_MAX_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._invalid(error.strerror) from error
        if len(data) > _MAX_FILE:
            raise self._invalid(f"larger than {_MAX_FILE >> 20} MiB")
        try:
            table = json.loads(data)
        except ValueError as error:
            raise self._invalid(f"not valid JSON: {error}") from error
        except RecursionError as error:
            raise self._invalid("nested too deeply") from error
        if not isinstance(table, dict):
            raise self._invalid("not a JSON object")
        for name, kind in _PARTS.items():
            if table.get(name) is None:
                table.pop(name, None)
            elif not isinstance(table[name], kind):
                raise self._invalid(f"{name} is not {'a string' if kind is str else 'an object'}")
        return table


def _is_text(value: str) -> bool:
    """Return whether a JSON string has no half of a surrogate pair, which cannot be encoded."""
    return not re.search("[\ud800-\udfff]", value)


def _keys(host: str) -> tuple[str, ...]:
    return (_HUB_KEY, *sorted(_HUB)) if host in _HUB else (host,)


def _strip(key: str) -> str:
    return key if key == _HUB_KEY else re.sub(r"^https?://", "", key).split("/", 1)[0]


def _ask_helper(helper: str, server: str, cancel: CancelToken | None) -> Credentials:
    name = f"docker-credential-{helper}"
    if "/" in helper or "\0" in helper:
        raise SourceError(f"{name[:100]!r} is not a valid credential helper name", help="fix config.json")
    code, out, err = _run(name, server, cancel)
    if code != 0:
        said = (out + err).decode(errors="replace").strip()
        if "not found" in said:
            return ANONYMOUS
        raise SourceError(
            f"the credential helper {name} failed: {said[:300] or f'exit code {code}'}",
            help=f"test it with: echo {server} | {name} get",
        )
    try:
        answer = json.loads(out)
        username, secret = answer["Username"], answer["Secret"]
        if not isinstance(username, str) or not isinstance(secret, str):
            raise TypeError("not strings")
        if not _is_text(username + secret):
            raise ValueError("not Unicode text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"the credential helper {name} returned an invalid response",
            help=f"test it with: echo {server} | {name} get",
        ) from error
    return Credentials("" if username == "<token>" else username, secret)


def _run(name: str, server: str, cancel: CancelToken | None) -> tuple[int, bytes, bytes]:
    try:
        process = subprocess.Popen(
            [name, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except FileNotFoundError as error:
        raise SourceError(
            f"the credential helper {name} is not installed", help="install it, or remove it from config.json"
        ) from error
    except OSError as error:
        raise SourceError(
            f"the credential helper {name} cannot be run: {error.strerror}", help="check the file"
        ) from error

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    with process:
        timer = threading.Timer(_HELPER_SECONDS, kill)
        timer.daemon = True
        timer.start()
        try:
            if cancel is None:
                out, err = process.communicate(server.encode())
            else:
                with cancel.on_cancel(kill):
                    out, err = process.communicate(server.encode())
                cancel.check()
        finally:
            overdue = not timer.is_alive()
            timer.cancel()
    if overdue:
        raise SourceError(
            f"the credential helper {name} did not respond within {_HELPER_SECONDS:.0f} seconds",
            help=f"test it with: echo {server} | {name} get",
        )
    return process.returncode, out, err
