# SPDX-License-Identifier: Apache-2.0
"""HTTP for registries: which host to ask and how, authorisation, redirects, retries, and errors that help.

Every call blocks and belongs on a thread of the ``net`` pool. Behaviour follows containerd's client as BuildKit uses
it: mirrors first, at most five attempts with growing pauses, ``Authorization`` never follows a redirect to another host.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from worker.base import CancelToken, SourceError
from worker.content.auth import Authorizer, Credentials, DockerConfig
from worker.content.http_errors import UnreachableError, refused, unreachable

if TYPE_CHECKING:
    import urllib3

USER_AGENT = "llbkit/0.1"
CHUNK = 1 << 18
_ATTEMPTS = 5
_REDIRECTS = 10
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT = 30.0
_HUB_ENDPOINT = "registry-1.docker.io"

Body = bytes | Callable[[], Iterable[bytes]] | None
"""A request's body; a callable is called again for each attempt."""


class RegistryOptions(Protocol):
    """How to reach a registry host, from the configuration file."""

    @property
    def mirrors(self) -> Sequence[str]:
        """Hosts to try first, ``host[:port]`` or ``http(s)://host[:port][/path]``."""

    @property
    def http(self) -> bool:
        """Speak plain HTTP."""

    @property
    def insecure(self) -> bool:
        """Do not verify certificates."""

    @property
    def ca(self) -> str:
        """A file of certificate authorities to trust, "" for the system's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One host that can answer for a registry. ``base`` is its URL up to ``/v2``; ``mirror`` asks it with ``ns=``."""

    host: str
    base: str
    insecure: bool = False
    ca: str = ""
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: Body
    scopes: frozenset[str]
    authorization: str | None


class Transport:
    """Sends requests to registries.

    Args:
        options: configuration by registry host.
        credentials: credentials for a host; by default Docker's configuration file.
        sleep: waits between attempts.
    """

    def __init__(
        self,
        options: Mapping[str, RegistryOptions] = MappingProxyType({}),
        *,
        credentials: Callable[[str], Credentials] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._credentials = credentials or DockerConfig().credentials
        self._sleep = sleep
        self._lock = threading.Lock()
        self._managers: dict[tuple[bool, str], urllib3.PoolManager] = {}
        self._authorizers: dict[str, Authorizer] = {}

    def endpoints(self, domain: str, *, push: bool = False, insecure: bool | None = None) -> list[Endpoint]:
        """Return who answers for ``domain``, to be tried in order: its mirrors, then itself (alone for a push)."""
        own = self._options.get(domain)
        mirrors = own.mirrors if own is not None and not push else ()
        return [
            *(self._endpoint(mirror, mirror=True) for mirror in mirrors),
            self._endpoint(domain, insecure=insecure),
        ]

    def _endpoint(self, address: str, *, mirror: bool = False, insecure: bool | None = None) -> Endpoint:
        scheme, mark, rest = address.rpartition("://")
        host, _, path = rest.partition("/")
        options = self._options.get(host)
        if not mark:
            trusted = options is not None and bool(options.ca or options.insecure)
            plain = options is not None and options.http
            scheme = "http" if plain or insecure or (_is_loopback(host) and not trusted) else "https"
        network = _HUB_ENDPOINT if host == "docker.io" else host
        return Endpoint(
            host=host,
            base=f"{scheme}://{network}" + (f"/{path.rstrip('/')}" if path else ""),
            insecure=bool(insecure) or (options.insecure if options is not None else False),
            ca=options.ca if options is not None else "",
            mirror=mirror,
        )

    @contextmanager
    def send(
        self,
        endpoint: Endpoint,
        method: str,
        target: str,
        *,
        cancel: CancelToken,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: Body = None,
        scopes: Collection[str] = (),
        accept: Collection[int] = (),
        retry: bool = True,
        authorize: bool = True,
        authorization: str | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request and give its answer, whose body is not read yet.

        ``target`` is a path below the endpoint's ``/v2/`` or a full URL. ``accept`` lists statuses besides 2xx that
        the caller handles. The connection is shut when ``cancel`` is cancelled.
        ``authorization`` is sent as it is, in place of what the registry's challenges lead to.

        Raises:
            UnreachableError: no answer.
            HttpError: any other status.
        """
        url = target if "://" in target else f"{endpoint.base}/v2/{target}"
        authorizer = self._authorizer(endpoint) if authorize and authorization is None else None
        request = _Request(method, url, headers, body, frozenset(scopes), authorization)
        response = self._attempts(endpoint, request, authorizer, cancel, retry=retry)
        try:
            if not (200 <= response.status < 300 or response.status in accept):
                raise refused(endpoint.host, method, url, response)
            with cancel.on_cancel(lambda: _abort(response)):
                yield response
        finally:
            response.close() if response.length_remaining else response.release_conn()

    def _attempts(
        self,
        endpoint: Endpoint,
        request: _Request,
        authorizer: Authorizer | None,
        cancel: CancelToken,
        *,
        retry: bool,
    ) -> urllib3.BaseHTTPResponse:
        attempt = 0
        while True:
            cancel.check()
            attempt += 1
            sent = authorizer.header(request.scopes) if authorizer is not None else request.authorization
            try:
                response = self._follow(endpoint, request, sent)
            except UnreachableError:
                if not retry or attempt >= 3:
                    raise
                self._pause(cancel, 0.2 * 2**attempt)
                continue
            if attempt >= _ATTEMPTS:
                return response
            if response.status == 401 and authorizer is not None:
                if not authorizer.challenged(
                    response.headers.getlist("WWW-Authenticate"), request.scopes, sent
                ):
                    return response
                response.drain_conn()
            elif response.status in _TRANSIENT and retry:
                response.drain_conn()
                self._pause(cancel, _retry_after(response) or 0.2 * 2**attempt)
            else:
                return response

    def _pause(self, cancel: CancelToken, seconds: float) -> None:
        deadline = min(seconds, _LONGEST_WAIT)
        while deadline > 0:
            cancel.check()
            self._sleep(min(deadline, 0.2))
            deadline -= 0.2

    def _follow(self, endpoint: Endpoint, request: _Request, sent: str | None) -> urllib3.BaseHTTPResponse:
        target = request.url
        for _ in range(_REDIRECTS):
            own = dict(request.headers)
            if sent is not None and same_host(target, request.url):
                own["Authorization"] = sent
            response = self._once(endpoint, request.method, target, own, request.body)
            location = response.headers.get("Location")
            if request.method not in ("GET", "HEAD") or response.status not in _REDIRECT or not location:
                return response
            response.drain_conn()
            target = urljoin(target, location)
        raise SourceError(
            f"{endpoint.host} redirects in circles", help=f"the request was {request.method} {request.url}"
        )

    def _once(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str], body: Body
    ) -> urllib3.BaseHTTPResponse:
        import urllib3.exceptions

        headers = {"User-Agent": USER_AGENT, **headers}
        try:
            return self._manager(endpoint).request(
                method,
                url,
                body=body() if callable(body) else body,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(endpoint.host, url, error) from error

    def _manager(self, endpoint: Endpoint) -> urllib3.PoolManager:
        import urllib3

        key = (endpoint.insecure, endpoint.ca)
        with self._lock:
            if key not in self._managers:
                if endpoint.insecure:
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                self._managers[key] = urllib3.PoolManager(
                    num_pools=16,
                    maxsize=8,
                    timeout=urllib3.Timeout(connect=15.0, read=60.0),
                    cert_reqs="CERT_NONE" if endpoint.insecure else "CERT_REQUIRED",
                    ca_certs=endpoint.ca or None,
                )
            return self._managers[key]

    def _authorizer(self, endpoint: Endpoint) -> Authorizer:
        with self._lock:
            if endpoint.base not in self._authorizers:

                def ask(
                    method: str, url: str, headers: Mapping[str, str], body: bytes | None
                ) -> tuple[int, bytes]:
                    response = self._once(endpoint, method, url, headers, body)
                    try:
                        return response.status, response.read(1 << 20)
                    finally:
                        response.release_conn()

                self._authorizers[endpoint.base] = Authorizer(endpoint.host, self._credentials, ask)
            return self._authorizers[endpoint.base]


def same_host(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.hostname, first.port) == (second.scheme, second.hostname, second.port)


def with_query(url: str, **query: str) -> str:
    """Return ``url`` with parameters added to the query that it has."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _abort(response: urllib3.BaseHTTPResponse) -> None:
    with suppress(ValueError, OSError):  # it has been read to the end meanwhile
        response.shutdown()


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return 0.0
