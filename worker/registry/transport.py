# SPDX-License-Identifier: Apache-2.0
"""HTTP for registries: endpoints, authorization, redirects, retries, and actionable errors.

Every call blocks and belongs on a thread of the ``net`` pool; cancellation and deadlines end it at once, whatever it
waits for (`llbkit.worker.registry.exchange`). Behaviour follows containerd's client as BuildKit uses it: mirrors first, at most
five attempts with growing pauses. To whom credentials are sent is told in `llbkit.worker.registry.auth`.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.registry.auth import Authorizer, Lookup
from llbkit.worker.registry.dockerconfig import DockerConfig
from llbkit.worker.registry.http_errors import UnreachableError, refused, unreachable
from llbkit.worker.registry.proxies import proxy_for
from llbkit.worker.registry.response import Response
from llbkit.worker.registry.urls import header_value, resolve_url, same_origin

if TYPE_CHECKING:
    import urllib3

USER_AGENT = "llbkit/0.1"
CHUNK = 1 << 18
_ATTEMPTS = 5
_CONNECTIONS = 3
_REDIRECTS = 10
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT = 30.0
_MAX_TOKEN_ANSWER = 1 << 20
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
        """A file of certificate authorities to trust besides the system's, "" for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One host that can answer for a registry. ``base`` is its URL up to ``/v2``; ``mirror`` asks it with ``ns=``.

    ``registry`` is false for a server that is none, which no configuration of registries is about.
    """

    host: str
    base: str
    insecure: bool = False
    ca: str = ""
    mirror: bool = False
    registry: bool = True


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: Body
    scopes: frozenset[str]
    authorization: str | None
    patience: float


class Transport:
    """Sends requests to registries.

    Args:
        options: configuration by registry host.
        credentials: credentials for a host; by default Docker's configuration file.
        sleep: waits between attempts.
        patience: seconds that a server has to take a connection and begin its answer.
    """

    def __init__(
        self,
        options: Mapping[str, RegistryOptions] = MappingProxyType({}),
        *,
        credentials: Lookup | None = None,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = 60.0,
    ) -> None:
        self._options = options
        self._credentials = credentials or DockerConfig().credentials
        self._sleep = sleep
        self._patience = patience
        self._lock = threading.Lock()
        self._managers: dict[tuple[bool, bool, str, str], urllib3.PoolManager] = {}
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
        patience: float = 0.0,
    ) -> Iterator[Response]:
        """Send a request and give its answer, whose body is not read yet.

        ``target`` is a path below the endpoint's ``/v2/`` or a full URL. ``accept`` lists statuses besides 2xx that
        the caller handles. ``authorization`` is sent as it is, in place of what the registry's challenges lead to.
        ``patience`` is how many seconds the answer may take at least, for requests that mean work.

        Raises:
            UnreachableError: no answer.
            HttpError: any other status.
            SourceError: it redirects without end or to what is not a URL; its token server refuses.
            llbkit.worker.host.pools.Cancelled: ``cancel`` was cancelled, at whatever moment.
        """
        url = target if "://" in target else f"{endpoint.base}/v2/{target}"
        authorizer = self._authorizer(endpoint) if authorize and authorization is None else None
        wait = max(patience, self._patience)
        request = _Request(method, url, headers, body, frozenset(scopes), authorization, wait)
        response = self._attempts(endpoint, request, authorizer, cancel, retry=retry)
        try:
            if not (200 <= response.status < 300 or response.status in accept):
                raise refused(endpoint, method, response)
            yield response
        finally:
            response.close()

    def _attempts(
        self,
        endpoint: Endpoint,
        request: _Request,
        authorizer: Authorizer | None,
        cancel: CancelToken,
        *,
        retry: bool,
    ) -> Response:
        attempt = 0
        while True:
            cancel.check()
            attempt += 1
            sent = request.authorization
            if authorizer is not None:
                sent = authorizer.header(request.scopes, cancel)
            try:
                response = self._follow(endpoint, request, sent, cancel)
            except UnreachableError as error:
                if not retry or attempt >= (2 if error.timed_out else _CONNECTIONS):
                    raise
                self._pause(cancel, 0.2 * 2**attempt)
                continue
            if attempt >= _ATTEMPTS:
                return response
            if response.status == 401 and authorizer is not None and response.own:
                try:
                    again = authorizer.challenged(
                        response.headers.getlist("WWW-Authenticate"), request.scopes, sent, cancel
                    )
                except BaseException:
                    response.close()
                    raise
                if not again:
                    return response
                response.dismiss()
            elif response.status in _TRANSIENT and retry:
                response.dismiss()
                self._pause(cancel, _retry_after(response) or 0.2 * 2**attempt)
            else:
                return response

    def _pause(self, cancel: CancelToken, seconds: float) -> None:
        deadline = min(seconds, _LONGEST_WAIT)
        while deadline > 0:
            cancel.check()
            self._sleep(min(deadline, 0.2))
            deadline -= 0.2

    def _follow(
        self, endpoint: Endpoint, request: _Request, sent: str | None, cancel: CancelToken
    ) -> Response:
        """Send a request along its redirects. ``sent`` goes to the first origin only, until it was left once."""
        target, own = request.url, True
        for _ in range(_REDIRECTS):
            own = own and same_origin(target, request.url)
            headers = dict(request.headers)
            if sent is not None and own:
                headers["Authorization"] = sent
            response = self._once(
                endpoint, request.method, target, headers, request.body, cancel, request.patience
            )
            response.own = own
            location = response.headers.get("Location")
            if request.method not in ("GET", "HEAD") or response.status not in _REDIRECT or not location:
                return response
            response.dismiss()
            try:
                target = resolve_url(target, location)
            except ValueError as error:
                raise SourceError(
                    f"{endpoint.host} redirects to an invalid URL: {str(error)[:200]}",
                    help=f"the request was {request.method} {request.url[:200]}",
                ) from error
        raise SourceError(
            f"{endpoint.host} redirects more than {_REDIRECTS} times",
            help=f"the request was {request.method} {request.url[:200]}",
        )

    def _once(
        self,
        endpoint: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        cancel: CancelToken,
        patience: float,
    ) -> Response:
        import urllib3.exceptions

        from llbkit.worker.registry.exchange import Exchange, timeouts

        exchange = Exchange(cancel, patience)
        proxy = ""
        try:
            target = resolve_url(url, url)
            checked = {name: header_value(value) for name, value in headers.items()}
            proxy = proxy_for(target)
            with exchange.making_request():
                answer = self._manager(endpoint, proxy, tls=target.startswith("https:")).request(
                    method,
                    target,
                    timeout=timeouts(patience),
                    body=exchange.extended_by(body(), patience) if callable(body) else body,
                    headers={"User-Agent": USER_AGENT, **checked},
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                )
            return Response(answer, target, exchange, cancel)
        except (urllib3.exceptions.HTTPError, TimeoutError) as error:
            exchange.close()
            cancel.check()
            raise unreachable(
                endpoint, url, error, waited=patience if exchange.expired else 0.0, proxy=proxy
            ) from error
        except ValueError as error:
            exchange.close()
            raise SourceError(
                f"cannot send a request to {endpoint.host}: {str(error)[:200]}",
                help="check the address, headers and secrets",
            ) from error
        except BaseException:
            exchange.close()
            raise

    def _manager(self, endpoint: Endpoint, proxy: str, *, tls: bool) -> urllib3.PoolManager:
        """Return the pool of connections for an endpoint; reading certificates takes time, so only for TLS."""
        from llbkit.worker.registry.exchange import manager

        key = (True, endpoint.insecure, endpoint.ca, proxy) if tls else (False, False, "", proxy)
        with self._lock:
            if key not in self._managers:
                try:
                    self._managers[key] = manager(*key)
                except OSError as error:
                    raise SourceError(
                        f"cannot read the certificate authorities in {endpoint.ca}: {error}",
                        help=f'check ca under [registry."{endpoint.host}"] in the configuration file',
                    ) from error
            return self._managers[key]

    def _authorizer(self, endpoint: Endpoint) -> Authorizer:
        with self._lock:
            if endpoint.base not in self._authorizers:

                def ask(
                    method: str, url: str, headers: Mapping[str, str], body: bytes | None, cancel: CancelToken
                ) -> tuple[int, bytes, str]:
                    response = self._once(endpoint, method, url, headers, body, cancel, self._patience)
                    try:
                        said = response.read(_MAX_TOKEN_ANSWER)
                        return response.status, said, response.headers.get("Location", "")
                    finally:
                        response.close()

                self._authorizers[endpoint.base] = Authorizer(
                    endpoint.host, endpoint.base, self._credentials, ask
                )
            return self._authorizers[endpoint.base]


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _retry_after(response: Response) -> float:
    """Return how many seconds a server asks to wait, at most 30; 0 if it does not say so in seconds."""
    text = response.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit()):
        return 0.0
    return _LONGEST_WAIT if len(text) > 5 else min(float(text), _LONGEST_WAIT)
