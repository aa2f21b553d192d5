# SPDX-License-Identifier: Apache-2.0
"""Registry authentication: answer challenges, and decide which hosts may receive credentials.

Flow (distribution token specification): a request is answered 401 with a challenge; Basic is answered with the
credentials, Bearer with a token fetched from the challenge's realm: by POST if there is a secret (falling back to
GET where the server does not know the form), by an anonymous GET otherwise. Tokens are kept per scope until 90 % of
their life is over. Secrets never appear in messages.

Whom we trust, as Docker's clients do (containerd's resolver and authorizer), or less:

- Credentials belong to a registry host. Only a challenge of the registry itself (the scheme, host and port that were
  addressed, not of one it redirected to) is answered; containerd would look up what it knows for the other host.
- A realm on another host than the registry's is trusted because the registry names it: that is how Docker Hub and
  others work. A registry that speaks TLS may not have credentials sent in the clear, though: its realm speaks TLS too.
- A token server's redirect is followed for GET only, and without credentials when it leads to another origin.
- Tokens and credentials are sent to the registry's own origin; redirects and uploads to another one carry none, and
  once a chain of redirects has left the origin, none are sent even if it comes back.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.registry.dockerconfig import ANONYMOUS, Credentials
from llbkit.worker.registry.urls import MAX_URL, origin, resolve_url, same_origin, shown_host

CLIENT_ID = "llbkit"
_DEFAULT_LIFE = 60.0
_LONGEST_LIFE = 86400.0
_MAX_TOKEN = 1 << 16
_MAX_CHALLENGE = 1 << 16
_MAX_CHALLENGES = 16
_REDIRECTS = 5
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z0-9_-]+\s*=|\s*$|\s*,)")
_SENDABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge: lower-case scheme and parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read ``WWW-Authenticate`` headers, each of which may hold several challenges; what is not a challenge is skipped."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) > _MAX_CHALLENGE:
            continue
        position = _after_comma(header, 0)
        while len(found) < _MAX_CHALLENGES and (match := _SCHEME.match(header, position)):
            parameters: dict[str, str] = {}
            position = _after_comma(header, match.end())
            while value := _PARAMETER.match(header, position):
                text = value[2] if value[2] is not None else value[3]
                parameters[value[1].lower()] = re.sub(r"\\(.)", r"\1", text)
                position = _after_comma(header, value.end())
            found.append(Challenge(match[1].lower(), parameters))
    return found


def _after_comma(header: str, position: int) -> int:
    while position < len(header) and header[position] in " \t,":
        position += 1
    return position


Ask = Callable[[str, str, Mapping[str, str], bytes | None, CancelToken], tuple[int, bytes, str]]
"""``ask(method, url, headers, body, cancel) -> (status, body, location)``: one plain request to a token server."""

Lookup = Callable[[str, CancelToken], Credentials]
"""``lookup(host, cancel)``: the credentials for a registry host."""


class Authorizer:
    """The ``Authorization`` headers for one registry: ``base`` is its URL, ``host`` its name in the configuration.

    Thread-safe: of several threads that lack a token one fetches it, the others wait.
    """

    def __init__(
        self,
        host: str,
        base: str,
        credentials: Lookup,
        ask: Ask,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._base = base
        self._lookup = credentials
        self._ask = ask
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._credentials: Credentials | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}

    def header(self, scopes: frozenset[str], cancel: CancelToken) -> str | None:
        """Return the header to send along, None as long as the registry has not asked who we are.

        Raises:
            SourceError: the token server refuses or cannot be reached.
        """
        with acquired(self._lock, cancel):
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._who(cancel).basic()
            return f"Bearer {self._token(scopes, cancel)}"

    def challenged(
        self, headers: Iterable[str], scopes: frozenset[str], sent: str | None, cancel: CancelToken
    ) -> bool:
        """Learn from a 401 of the registry itself to a request that carried ``sent``; return whether to try again.

        Raises:
            SourceError: the token server refuses or cannot be reached.
        """
        with acquired(self._lock, cancel):
            challenge = self._choose(parse_challenges(headers))
            if challenge is None:
                return False
            if challenge.scheme == "basic":
                fresh = self._challenge is None
                self._challenge = challenge
                return (fresh or sent is None) and self._who(cancel) != ANONYMOUS
            wanted = frozenset(challenge.parameters.get("scope", "").split()) or scopes
            self._challenge = challenge
            known = self._tokens.get(scopes)
            if known is not None and sent is not None and sent != f"Bearer {known[0]}":
                return True  # another thread has fetched a newer one meanwhile
            self._tokens.pop(scopes, None)
            self._tokens[scopes] = self._fetch(challenge, scopes | wanted, cancel)
            return sent != f"Bearer {self._tokens[scopes][0]}"

    def _choose(self, challenges: list[Challenge]) -> Challenge | None:
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                return challenge
        return next((c for c in challenges if c.scheme == "basic"), None)

    def _who(self, cancel: CancelToken) -> Credentials:
        if self._credentials is None:
            self._credentials = self._lookup(self._host, cancel)
        return self._credentials

    def _token(self, scopes: frozenset[str], cancel: CancelToken) -> str:
        token, until = self._tokens.get(scopes, ("", 0.0))
        if self._clock() >= until:
            assert self._challenge is not None
            token, until = self._tokens[scopes] = self._fetch(self._challenge, scopes, cancel)
        return token

    def _fetch(self, challenge: Challenge, scopes: frozenset[str], cancel: CancelToken) -> tuple[str, float]:
        who = self._who(cancel)
        if who.bearer:
            return self._sendable(who.bearer, "Docker's configuration file"), float("inf")
        realm = self._realm(challenge.parameters["realm"], secret=bool(who.secret))
        service = challenge.parameters.get("service", "")
        status, body = 0, b""
        if who.secret:
            status, body = self._post(realm, service, scopes, who, cancel)
        if not who.secret or 300 <= status < 400 or status in (401, 404) or (status == 405 and who.username):
            status, body = self._get(realm, service, scopes, who, cancel)
        if status != 200:
            raise self._refused(realm, status, who)
        return self._read(realm, body)

    def _realm(self, text: str, *, secret: bool) -> str:
        """Return the URL of a token server that may be asked, with credentials if ``secret``."""
        try:
            realm = resolve_url(text, text)
        except ValueError as error:
            raise SourceError(
                f"{self._host} sent an invalid token server URL: {str(error)[:200]}",
                help="the registry is misconfigured: check the realm of its token authentication",
            ) from error
        if secret and origin(self._base)[0] == "https" and origin(realm)[0] == "http":
            raise SourceError(
                f"{self._host} uses a token server without TLS, {shown_host(realm)}: "
                "the credentials were not sent",
                help="the registry is misconfigured: its realm must be an https URL",
            )
        return realm

    def _refused(self, realm: str, status: int, who: Credentials) -> SourceError:
        server = f"the token server {shown_host(realm)} of {self._host}"
        if status in (400, 401, 403):
            return SourceError(
                f"authentication failed: {server} refused {who.username!r} (HTTP {status})"
                if who.username
                else f"authentication required: {server} refused anonymous access (HTTP {status})"
                if not who.secret
                else f"authentication failed: {server} refused the stored token (HTTP {status})",
                help=f"log in{' again' if who.secret else ''}: docker login {self._host}",
            )
        return SourceError(
            f"{server} answered HTTP {status}",
            help="wait and try again" if status == 429 or status >= 500 else "the registry is misconfigured",
        )

    def _post(
        self, realm: str, service: str, scopes: frozenset[str], who: Credentials, cancel: CancelToken
    ) -> tuple[int, bytes]:
        form = {"client_id": CLIENT_ID, "service": service, "scope": " ".join(sorted(scopes))}
        if who.username:
            form |= {"grant_type": "password", "username": who.username, "password": who.secret}
        else:
            form |= {"grant_type": "refresh_token", "refresh_token": who.secret}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", realm, headers, urlencode(form).encode(), cancel)[:2]

    def _get(
        self, realm: str, service: str, scopes: frozenset[str], who: Credentials, cancel: CancelToken
    ) -> tuple[int, bytes]:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in sorted(scopes)]
        target = realm + (("&" if "?" in realm else "?") + urlencode(query) if query else "")
        headers = {"Authorization": who.basic()} if who.username else {}
        for _ in range(_REDIRECTS):
            status, body, location = self._ask("GET", target[: 4 * MAX_URL], headers, None, cancel)
            if not (300 <= status < 400 and location):
                return status, body
            following = self._realm_redirect(target, location)
            if not same_origin(following, realm):
                headers = {}
            target = following
        return status, b""

    def _realm_redirect(self, target: str, location: str) -> str:
        try:
            return resolve_url(target, location)
        except ValueError as error:
            raise SourceError(
                f"the token server {shown_host(target)} of {self._host} redirects to an invalid URL: "
                f"{str(error)[:200]}",
                help="the registry is misconfigured",
            ) from error

    def _read(self, realm: str, body: bytes) -> tuple[str, float]:
        server = f"the token server {shown_host(realm)} of {self._host}"
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            if not isinstance(token, str):
                raise TypeError("the token is not a string")
            life = float(answer.get("expires_in") or _DEFAULT_LIFE)
        except (
            ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError
        ) as error:  # fmt: skip
            raise SourceError(f"{server} sent no token", help="the registry is misconfigured") from error
        if not life > 0:
            life = _DEFAULT_LIFE
        return self._sendable(token, server), self._issued(answer) + 0.9 * min(life, _LONGEST_LIFE)

    def _sendable(self, token: str, origin: str) -> str:
        if len(token) > _MAX_TOKEN or not _SENDABLE.fullmatch(token):
            raise SourceError(
                f"{origin} sent an invalid token: longer than {_MAX_TOKEN >> 10} KiB, "
                "or with characters not allowed in a header",
                help=f"log in again: docker login {self._host}",
            )
        return token

    def _issued(self, answer: Mapping[str, Any]) -> float:
        now = self._clock()
        try:
            return min(now, datetime.fromisoformat(str(answer["issued_at"])).timestamp())
        except (KeyError, ValueError, OverflowError, OSError):
            return now


@contextmanager
def acquired(lock: threading.Lock | threading.RLock, cancel: CancelToken) -> Iterator[None]:
    """Hold a lock; waiting for it ends when ``cancel`` is cancelled.

    Raises:
        llbkit.worker.host.pools.Cancelled: while waiting.
    """
    while not lock.acquire(timeout=0.1):
        cancel.check()
    try:
        yield
    finally:
        lock.release()
