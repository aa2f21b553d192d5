# SPDX-License-Identifier: Apache-2.0
"""URLs as Go's ``net/url`` parses and prints them, which decides what BuildKit sends."""

from __future__ import annotations

import re
from dataclasses import field

from llbkit.records import dataclass

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"(?::[0-9]*)?")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_ESCAPE = re.compile(r"%(?P<hex>[0-9A-Fa-f]{2})?")
_HOST_ESCAPE = re.compile(r"%(?!25|[89A-Fa-f][0-9A-Fa-f])")
_BAD_HOST = re.compile(r"[\x00-\x20#/?@\\^`{|}\x7f]")
_PATH = re.compile(r"[A-Za-z0-9\-_.~$&+,/:;=@!'()*%\[\]]*")
_KEPT_IN_PATH = re.compile(r"[A-Za-z0-9\-_.~$&+,/:;=@]")


class URLError(ValueError):
    """An address is not a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class URL:
    """An absolute URL; ``path`` and ``fragment`` are decoded, ``query`` is not. ``opaque`` stands for all of them."""

    scheme: str
    user: str | None = None
    host: str = ""
    path: str = ""
    query: str | None = None
    fragment: str = ""
    opaque: str = ""
    raw_path: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the URL without its query and fragment; a question mark that nothing follows stays."""
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        out = f"{self.scheme}:"
        if self.host or self.path or self.user is not None:
            out += "//" + (f"{self.user}@" if self.user is not None else "") + self.host
        out += self.raw_path if _PATH.fullmatch(self.raw_path) else _escaped(self.path)
        return out + ("?" if self.query == "" else "")

    def values(self) -> dict[str, list[str]]:
        """Return the parameters of the query; those that are malformed are left out."""
        out: dict[str, list[str]] = {}
        for pair in (self.query or "").split("&"):
            key, _, value = pair.partition("=")
            if not pair or ";" in pair:
                continue
            try:
                name, text = (unescape(part.replace("+", " ")) for part in (key, value))
            except URLError:
                continue
            out.setdefault(name, []).append(text)
        return out


def parse(text: str) -> URL:
    """Read an absolute URL.

    Raises:
        URLError: it has no scheme, or holds what may not stand where it does.
    """
    if _CONTROL.search(text):
        raise URLError("invalid control character in URL")
    rest, _, fragment = text.partition("#")
    match = _SCHEME.match(rest)
    if match is None:
        raise URLError("missing protocol scheme")
    scheme, rest = match[1].lower(), rest[match.end() :]
    rest, mark, query = rest.partition("?")
    asked = query if mark else None
    if not rest.startswith("/"):
        return URL(scheme=scheme, opaque=rest, query=asked, fragment=unescape(fragment))
    user, host = None, ""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, host = _authority(authority)
    return URL(
        scheme=scheme,
        user=user,
        host=host,
        path=unescape(rest),
        query=asked,
        fragment=unescape(fragment),
        raw_path=rest,
    )


def _authority(text: str) -> tuple[str | None, str]:
    user, at, host = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise URLError("invalid userinfo")
    unescape(user)
    if "[" in host:
        end = host.rfind("]")
        if end < 0:
            raise URLError("missing ']' in host")
        port = host[end + 1 :]
    else:
        port = ":" + host.rpartition(":")[2] if ":" in host else ""
    if not _PORT.fullmatch(port):
        raise URLError(f"invalid port {port!r} after host")
    if _BAD_HOST.search(host) or _HOST_ESCAPE.search(host):
        raise URLError(f"invalid character in host name {host!r}")
    return (user if at else None), host


def unescape(text: str) -> str:
    """Return a text with its percent escapes read as bytes of UTF-8.

    Raises:
        URLError: an escape has not two digits.
    """
    if "%" not in text:
        return text
    for match in _ESCAPE.finditer(text):
        if match["hex"] is None:
            raise URLError(f'invalid URL escape "{text[match.start() : match.start() + 3]}"')
    data = re.sub(
        rb"%([0-9A-Fa-f]{2})",
        lambda match: bytes([int(match[1], 16)]),
        text.encode("utf-8", "surrogateescape"),
    )
    return data.decode("utf-8", "surrogateescape")


def _escaped(path: str) -> str:
    return "".join(
        char
        if _KEPT_IN_PATH.fullmatch(char)
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in path
    )
