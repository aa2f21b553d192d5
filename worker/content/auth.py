# SPDX-License-Identifier: Apache-2.0
"""Who we are to a registry: credentials from Docker's configuration, and tokens from its token server.

Flow (distribution token specification): a request is answered 401 with a challenge; Basic is answered with the
credentials, Bearer with a token fetched from the challenge's realm: by POST if there is a secret (falling back to
GET where the server does not know the form), by an anonymous GET otherwise. Tokens are kept per scope until 90 % of
their life is over. Secrets never appear in messages.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from worker.base import SourceError

CLIENT_ID = "llbkit"
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEY = "https://index.docker.io/v1/"
_DEFAULT_LIFE = 60.0
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z0-9_-]+\s*=|\s*$|\s*,)")


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


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge: lower-case scheme and parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read ``WWW-Authenticate`` headers, each of which may hold several challenges."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while match := _SCHEME.match(header, position):
            parameters: dict[str, str] = {}
            position = match.end()
            while item := re.compile(r"\s*,?\s*").match(header, position):
                value = _PARAMETER.match(header, item.end())
                if value is None:
                    break
                text = value[2] if value[2] is not None else value[3]
                parameters[value[1].lower()] = re.sub(r"\\(.)", r"\1", text)
                position = value.end()
            found.append(Challenge(match[1].lower(), parameters))
    return found


class DockerConfig:
    """Credentials from ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``.

    Read once, on first use. ``credHelpers`` wins over ``credsStore``, which wins over ``auths``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._table: dict[str, Any] | None = None

    def credentials(self, host: str) -> Credentials:
        """Return what is known for a registry host, `ANONYMOUS` if nothing is.

        Raises:
            SourceError: the file is not JSON, or a credential helper failed.
        """
        table = self._load()
        keys = _keys(host)
        for key in keys:
            if helper := table.get("credHelpers", {}).get(key):
                return _ask_helper(str(helper), key)
        if (helper := table.get("credsStore")) and (answer := _ask_helper(str(helper), keys[0])) != ANONYMOUS:
            return answer
        auths = {_strip(key): value for key, value in table.get("auths", {}).items()}
        for key in keys:
            if (entry := auths.get(_strip(key))) is not None:
                return self._entry(entry)
        return ANONYMOUS

    def _entry(self, entry: Mapping[str, Any]) -> Credentials:
        username, secret = str(entry.get("username", "")), str(entry.get("password", ""))
        if encoded := entry.get("auth"):
            try:
                username, _, secret = base64.b64decode(encoded).decode().rstrip("\0").partition(":")
            except ValueError as error:
                raise SourceError(f"{self._file()}: an auth entry is not valid base64") from error
        if identity := entry.get("identitytoken"):
            return Credentials("", str(identity))
        return Credentials(username, secret, str(entry.get("registrytoken", "")))

    def _file(self) -> Path:
        if self._path is not None:
            return self._path
        return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"

    def _load(self) -> dict[str, Any]:
        with self._lock:
            if self._table is None:
                path = self._file()
                try:
                    table = json.loads(path.read_bytes())
                except FileNotFoundError:
                    table = {}
                except (OSError, ValueError) as error:
                    raise SourceError(
                        f"cannot read registry credentials from {path}: {error}",
                        help="mend or remove the file",
                    ) from error
                self._table = table if isinstance(table, dict) else {}
            return self._table


def _keys(host: str) -> tuple[str, ...]:
    return (_HUB_KEY, *sorted(_HUB)) if host in _HUB else (host,)


def _strip(key: str) -> str:
    return key if key == _HUB_KEY else re.sub(r"^https?://", "", key).split("/", 1)[0]


def _ask_helper(helper: str, server: str) -> Credentials:
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [name, "get"], input=server.encode(), capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError as error:
        raise SourceError(
            f"the credential helper {name} is not installed", help="install it, or remove it from config.json"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"the credential helper {name} did not answer in 60 s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "not found" in said:
            return ANONYMOUS
        raise SourceError(f"the credential helper {name} failed: {said or done.returncode}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"the credential helper {name} gave no valid answer") from error
    return Credentials("" if username == "<token>" else username, secret)


Post = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]
"""``ask(method, url, headers, body) -> (status, body)``: one plain request to a token server."""


class Authorizer:
    """The ``Authorization`` headers for one registry host. Thread-safe."""

    def __init__(
        self,
        host: str,
        credentials: Callable[[str], Credentials],
        ask: Post,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._lookup = credentials
        self._ask = ask
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._credentials: Credentials | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}

    def header(self, scopes: frozenset[str]) -> str | None:
        """Return the header to send along, None as long as the registry has not asked who we are."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._who().basic()
            return f"Bearer {self._token(scopes)}"

    def challenged(self, headers: Iterable[str], scopes: frozenset[str], sent: str | None) -> bool:
        """Learn from a 401 to a request that carried ``sent``. Tells whether trying again makes sense."""
        with self._lock:
            challenge = self._choose(parse_challenges(headers))
            if challenge is None:
                return False
            if challenge.scheme == "basic":
                fresh = self._challenge is None
                self._challenge = challenge
                return (fresh or sent is None) and self._who() != ANONYMOUS
            wanted = frozenset(challenge.parameters.get("scope", "").split()) or scopes
            self._challenge = challenge
            known = self._tokens.get(scopes)
            if known is not None and sent is not None and sent != f"Bearer {known[0]}":
                return True  # another thread has fetched a newer one meanwhile
            self._tokens.pop(scopes, None)
            self._tokens[scopes] = self._fetch(challenge, scopes | wanted)
            return sent != f"Bearer {self._tokens[scopes][0]}"

    def _choose(self, challenges: list[Challenge]) -> Challenge | None:
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                return challenge
        return next((c for c in challenges if c.scheme == "basic"), None)

    def _who(self) -> Credentials:
        if self._credentials is None:
            self._credentials = self._lookup(self._host)
        return self._credentials

    def _token(self, scopes: frozenset[str]) -> str:
        token, until = self._tokens.get(scopes, ("", 0.0))
        if self._clock() >= until:
            assert self._challenge is not None
            token, until = self._tokens[scopes] = self._fetch(self._challenge, scopes)
        return token

    def _fetch(self, challenge: Challenge, scopes: frozenset[str]) -> tuple[str, float]:
        who = self._who()
        if who.bearer:
            return who.bearer, float("inf")
        realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
        status, body = 0, b""
        if who.secret:
            status, body = self._post(realm, service, scopes, who)
        if not who.secret or status in (401, 404) or (status == 405 and who.username):
            status, body = self._get(realm, service, scopes, who)
        if status != 200:
            raise SourceError(
                f"the token server of {self._host} refused (HTTP {status})"
                + (f" the user {who.username!r}" if who.username else ""),
                help=f"log in again: docker login {self._host}",
            )
        return self._read(body)

    def _post(self, realm: str, service: str, scopes: frozenset[str], who: Credentials) -> tuple[int, bytes]:
        form = {"client_id": CLIENT_ID, "service": service, "scope": " ".join(sorted(scopes))}
        if who.username:
            form |= {"grant_type": "password", "username": who.username, "password": who.secret}
        else:
            form |= {"grant_type": "refresh_token", "refresh_token": who.secret}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", realm, headers, urlencode(form).encode())

    def _get(self, realm: str, service: str, scopes: frozenset[str], who: Credentials) -> tuple[int, bytes]:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in sorted(scopes)]
        headers = {"Authorization": who.basic()} if who.username else {}
        mark = "&" if "?" in realm else "?"
        return self._ask("GET", realm + (mark + urlencode(query) if query else ""), headers, None)

    def _read(self, body: bytes) -> tuple[str, float]:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            life = float(answer.get("expires_in") or _DEFAULT_LIFE)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise SourceError(f"the token server of {self._host} gave no token") from error
        return str(token), self._issued(answer) + 0.9 * life

    def _issued(self, answer: Mapping[str, Any]) -> float:
        now = self._clock()
        try:
            return min(now, datetime.fromisoformat(str(answer["issued_at"])).timestamp())
        except (KeyError, ValueError):
            return now
