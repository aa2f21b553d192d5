# SPDX-License-Identifier: Apache-2.0
"""Files over HTTP. Cached files are revalidated with their ETag or Last-Modified.

The body is a blob of the content store; a table remembers url, ETag, Last-Modified, name and digest.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from llbkit.llb.address.reference import InvalidDigestError, check_digest
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.provider import Blobs, Progress, WrongDigestError
from llbkit.worker.registry.http_errors import HttpError
from llbkit.worker.registry.response import Response
from llbkit.worker.registry.transport import Endpoint, Transport
from llbkit.worker.registry.urls import basic_authorization, header_value, resolve_url
from llbkit.worker.session.base import Session
from llbkit.worker.state.metadata import Metadata

_CHUNK = 1 << 20
_SCHEMA = "CREATE TABLE IF NOT EXISTS http_sources (key TEXT PRIMARY KEY, value TEXT NOT NULL, checked_at REAL NOT NULL)"
_DISPOSITION = re.compile(r"filename\*?=(?:UTF-8'[^']*')?\"?([^\";]+)\"?", re.IGNORECASE)
_SENT = {"http.header.accept": "Accept", "http.header.user-agent": "User-Agent"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFile:
    """A fetched file: digest of its content, name, and Last-Modified in seconds since 1970 (None: not said).

    ``checksum`` is the digest of its content in another algorithm, as a source asked for it last.
    """

    digest: str
    filename: str
    etag: str = ""
    last_modified: float | None = None
    checksum: str = ""


class HttpSource:
    """Fetches files.

    Args:
        transport: sends the requests.
        store: keeps the bodies.
        database: keeps the validators.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        store: Blobs,
        database: Metadata,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._store = store
        self._database = database
        self._clock = clock
        database.register("http_sources", 1, _SCHEMA)

    def resolve(
        self,
        url: str,
        attrs: Mapping[str, str],
        cancel: CancelToken,
        *,
        session: Session,
        progress: Progress | None = None,
    ) -> HttpFile:
        """Return what is behind ``url``, its body in the store unless it was pruned and the server says "unchanged".

        Raises:
            SourceError: it cannot be fetched, or its signature is to be checked, which is not supported.
            WrongDigestError: it is not what ``http.checksum`` says.
        """
        signed = next((key for key in sorted(attrs) if key.startswith("http.sig.") and attrs[key]), "")
        if signed:
            raise SourceError(
                f"{url}: {signed} is not supported yet", help="check the file with http.checksum"
            )
        checksum = attrs.get("http.checksum", "")
        if checksum:
            try:
                check_digest(checksum)
            except InvalidDigestError as error:
                raise SourceError(
                    f"{url}: {checksum!r}: {error}", help="use sha256: and 64 hexadecimal digits"
                ) from error
        headers = {name: attrs[key] for key, name in _SENT.items() if attrs.get(key)}
        secret = attrs.get("http.authheadersecret", "")
        authorization = _authorization(session, secret)
        key = (
            "sha256:"
            + hashlib.sha256(json.dumps([url, sorted(headers.items()), secret]).encode()).hexdigest()
        )
        known = self._known(key)
        checked = checksum and known is not None and checksum in (known.digest, known.checksum)
        if checked and known is not None and self._store.exists(known.digest):
            return self._named(known, url, attrs)
        found = self._ask(url, headers, authorization, known, cancel, progress)
        actual = found.digest
        if checksum and checksum not in (found.digest, found.checksum):
            if not self._store.exists(found.digest):  # pruned, and the server says "unchanged"
                found = self._ask(url, headers, authorization, None, cancel, progress)
            actual = self._digest(found.digest, checksum.partition(":")[0], cancel)
            found = found if actual == found.digest else replace(found, checksum=actual)
        if found != known:
            self._remember(key, found)
        if checksum and checksum not in (found.digest, found.checksum):
            raise WrongDigestError(url, checksum, actual)
        return self._named(found, url, attrs)

    def fetch(
        self,
        url: str,
        attrs: Mapping[str, str],
        cancel: CancelToken,
        *,
        session: Session,
        progress: Progress | None = None,
    ) -> HttpFile:
        """Return what is behind ``url``, its body in the store for certain.

        Raises:
            SourceError: it cannot be fetched.
        """
        found = self.resolve(url, attrs, cancel, session=session, progress=progress)
        if self._store.exists(found.digest):
            return found
        headers = {name: attrs[key] for key, name in _SENT.items() if attrs.get(key)}
        authorization = _authorization(session, attrs.get("http.authheadersecret", ""))
        again = self._ask(url, headers, authorization, None, cancel, progress)
        if again.digest != found.digest:
            raise SourceError(f"{url} changed during the build", help="build again")
        return found

    def _digest(self, digest: str, algorithm: str, cancel: CancelToken) -> str:
        """Return the digest of a stored body in another algorithm."""
        if algorithm == digest.partition(":")[0]:
            return digest
        state = hashlib.new(algorithm)
        with self._store.open(digest) as body:
            while piece := body.read(_CHUNK):
                cancel.check()
                state.update(piece)
        return f"{algorithm}:{state.hexdigest()}"

    def _named(self, found: HttpFile, url: str, attrs: Mapping[str, str]) -> HttpFile:
        name = attrs.get("http.filename") or found.filename or posixpath.basename(unquote(urlsplit(url).path))
        name = posixpath.basename(name.replace("\\", "/"))
        if name in ("", ".", ".."):
            name = "download"
        return HttpFile(
            digest=found.digest, filename=name, etag=found.etag, last_modified=found.last_modified
        )

    def _ask(
        self,
        url: str,
        headers: dict[str, str],
        authorization: str | None,
        known: HttpFile | None,
        cancel: CancelToken,
        progress: Progress | None,
    ) -> HttpFile:
        headers = {"Accept-Encoding": "identity", **headers}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        try:
            plain = resolve_url(url, url)
            authorization = authorization or basic_authorization(url)
        except ValueError as error:
            raise SourceError(f"{url}: {error}", help="check the address") from error
        parts = urlsplit(plain)
        endpoint = Endpoint(host=parts.netloc, base=f"{parts.scheme}://{parts.netloc}", registry=False)
        try:
            with self._transport.send(
                endpoint,
                "GET",
                plain,
                cancel=cancel,
                headers=headers,
                accept=(304,),
                authorize=False,
                authorization=authorization,
            ) as response:
                etag = response.headers.get("ETag", "")
                if known is not None and known.etag and (response.status == 304 or etag == known.etag):
                    return known
                digest = self._receive(response, cancel, progress)
                return HttpFile(
                    digest=digest,
                    filename=_disposition(response.headers.get("Content-Disposition", "")),
                    etag=etag,
                    last_modified=_date(response.headers.get("Last-Modified", "")),
                )
        except HttpError as error:
            what = {401: "authentication required", 403: "access denied", 404: "not found"}
            said = f"{what[error.status]} (HTTP {error.status})" if error.status in what else str(error)
            hint = "give the Authorization header as the secret HTTP_AUTH_HEADER_" + parts.netloc
            raise SourceError(
                f"{url}: {said}",
                help={401: hint, 403: hint, 404: "check the address"}.get(error.status, error.help),
            ) from error
        except WrongDigestError:
            raise
        except SourceError as error:
            raise SourceError(f"{url}: {error}", help=error.help) from error

    def _receive(self, response: Response, cancel: CancelToken, progress: Progress | None) -> str:
        total = max(response.length, 0)
        with self._store.writer() as writer:
            for chunk in response.chunks():
                cancel.check()
                writer.write(chunk)
                if progress is not None:
                    progress(writer.size, total)
        return writer.digest

    def _known(self, key: str) -> HttpFile | None:
        rows = self._database.query("SELECT value FROM http_sources WHERE key = ?", (key,))
        return HttpFile(**json.loads(rows[0][0])) if rows else None

    def _remember(self, key: str, found: HttpFile) -> None:
        row = (key, json.dumps(asdict(found)), self._clock())
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO http_sources VALUES (?, ?, ?)", row)


def permissions(attrs: Mapping[str, str]) -> tuple[int, int, int]:
    """Return mode, uid and gid of the file of an HTTP or blob source; 0600 0:0 by default.

    Raises:
        SourceError: one of them is not a number.
    """
    try:
        return (
            int(attrs.get("http.perm") or "0600", 8),
            int(attrs.get("http.uid") or 0),
            int(attrs.get("http.gid") or 0),
        )
    except ValueError as error:
        raise SourceError(f"http.perm, http.uid and http.gid must be numbers: {error}") from error


def _authorization(session: Session, secret: str) -> str | None:
    value = session.secret(secret) if secret else None
    if value is None:
        return None
    try:
        return header_value(value.decode().strip())
    except ValueError as error:
        raise SourceError(
            f"the secret {secret} cannot be used as an Authorization header: not a single line of Latin-1 text",
            help="provide the header value only, e.g. Bearer TOKEN",
        ) from error


def _disposition(header: str) -> str:
    match = _DISPOSITION.search(header)
    return unquote(match[1]).strip() if match else ""


def _date(header: str) -> float | None:
    if not header:
        return None
    try:
        return parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
