# SPDX-License-Identifier: Apache-2.0
"""HTTP responses: bodies within limits of size and time; the connection is released or closed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.registry.http_errors import broken
from llbkit.worker.registry.urls import shown_host

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPHeaderDict

    from llbkit.worker.registry.exchange import Exchange

_PIECE = 1 << 18
_PIECE_SECONDS = 300.0
"""How long a piece of 256 KiB may take: who is slower than 900 bytes a second stands still."""

_SMALL_SECONDS = 30.0
_DRAINED = 1 << 16
_DRAIN_SECONDS = 1.0


class BrokenConnectionError(SourceError):
    """A connection ended, or stood still, before the body was there."""


class Response:
    """An HTTP response whose body is not read yet. ``own`` tells whether the origin that was asked answered it itself."""

    def __init__(
        self, answer: BaseHTTPResponse, url: str, exchange: Exchange, cancel: CancelToken, *, own: bool = True
    ) -> None:
        self._answer = answer
        self._exchange = exchange
        self._cancel = cancel
        self.url = url
        self.own = own
        exchange.allow(math.inf)  # from here on the reader is waited for, until it reads

    @property
    def status(self) -> int:
        """The status code."""
        return self._answer.status

    @property
    def headers(self) -> HTTPHeaderDict:
        """The header fields."""
        return self._answer.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip()

    @property
    def length(self) -> int:
        """What ``Content-Length`` says, -1 if that is not a number."""
        text = str(self.headers.get("Content-Length", ""))
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1

    def chunks(self) -> Iterator[bytes]:
        """Give the body in pieces, as it is sent (not decoded).

        Raises:
            BrokenConnectionError: it ends early or stands still.
            llbkit.worker.host.pools.Cancelled: the request's token was cancelled.
        """
        while True:
            self._exchange.allow(_PIECE_SECONDS)
            data = self._read(_PIECE, decode=False)
            self._exchange.allow(math.inf)
            if not data:
                return
            yield data

    def read(self, limit: int) -> bytes:
        """Return the decoded body, cut after ``limit`` + 1 bytes.

        Raises:
            BrokenConnectionError: it ends early or stands still.
            llbkit.worker.host.pools.Cancelled: the request's token was cancelled.
        """
        self._exchange.allow(_SMALL_SECONDS)
        pieces: list[bytes] = []
        left = limit + 1
        while left > 0 and (data := self._read(min(left, _PIECE), decode=True)):
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def dismiss(self) -> None:
        """Give the connection back if what is left of the body is short, else shut it."""
        left = self._answer.length_remaining
        try:
            if left is not None and left <= _DRAINED:
                self._exchange.allow(_DRAIN_SECONDS)
                with suppress(BrokenConnectionError):
                    while self._read(_DRAINED, decode=False):
                        pass
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else shut it."""
        if self._answer.length_remaining == 0:
            with suppress(Exception):  # nothing is read: this only tells the library that it is at the end
                self._answer.read(decode_content=False)
            self._answer.release_conn()
        else:
            self._answer.close()
        self._exchange.close()

    def _read(self, size: int, *, decode: bool) -> bytes:
        import urllib3.exceptions

        self._cancel.check()
        try:
            data = self._answer.read(size, decode_content=decode)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._cancel.check()
            raise self._broken("timed out" if self._exchange.expired else broken(error)) from error
        self._cancel.check()
        if self._exchange.expired:  # a body without a length looks complete when its connection is shut
            raise self._broken("timed out")
        return data

    def _broken(self, why: str) -> BrokenConnectionError:
        return BrokenConnectionError(
            f"connection to {shown_host(self.url)} lost: {why}", help="check the network and try again"
        )
