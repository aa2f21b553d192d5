# SPDX-License-Identifier: Apache-2.0
r"""URLs received from servers: redirects, token realms, upload locations.

One parser, urllib3's, decides what a URL's host is, as it is the one that connections are made by: two parsers that
disagree about ``http://a\@b/`` would send one host's credentials to the other.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlencode, urljoin

MAX_URL = 16384
"""Longest URL in characters that is followed."""

_PORTS = {"http": 80, "https": 443}
_HOSTLESS = re.compile(r"https?:(?!//[^/?#])", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f]")

Origin = tuple[str, str, int]
"""Scheme, host and port."""


def resolve_url(base: str, location: str) -> str:
    """Return the absolute URL that ``location`` stands for at ``base``, without user information and fragment.

    Raises:
        ValueError: it is not a well-formed http or https URL, or too long.
    """
    from urllib3.util import parse_url

    if len(location) > MAX_URL:
        raise ValueError(f"URL of {len(location)} characters, the limit is {MAX_URL}")
    location = location.strip()
    url = parse_url(urljoin(base, location))
    if _HOSTLESS.match(location) or url.scheme not in _PORTS or not url.host or _UNSAFE.search(url.host):
        raise ValueError(f"not an HTTP URL: {location[:100]!r}")
    return str(url._replace(auth=None, fragment=None))


def origin(url: str) -> Origin:
    """Return the scheme, host and port of a URL.

    Raises:
        ValueError: it is not a well-formed http or https URL.
    """
    from urllib3.util import parse_url

    parts = parse_url(url)
    if parts.scheme not in _PORTS or not parts.host:
        raise ValueError(f"not an HTTP URL: {url[:100]!r}")
    return parts.scheme, parts.host, parts.port or _PORTS[parts.scheme]


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs are well-formed and have the same scheme, host and port."""
    try:
        return origin(one) == origin(other)
    except ValueError:
        return False


def shown_host(url: str) -> str:
    """Return ``host[:port]`` of a URL for messages, without user information."""
    from urllib3.util import parse_url

    try:
        parts = parse_url(url)
    except ValueError:
        return url[:100]
    return f"{parts.host}:{parts.port}" if parts.port else str(parts.host)


def basic_authorization(url: str) -> str | None:
    """Return the ``Authorization`` header for the user information in a URL, None if it has none."""
    from urllib3.util import parse_url

    auth = parse_url(url).auth
    if not auth:
        return None
    user, _, password = auth.partition(":")
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def with_query(url: str, **query: str) -> str:
    """Return ``url`` with parameters added to the query that it has."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def header_value(text: str) -> str:
    """Return ``text`` if it can be the value of a header that we send.

    Raises:
        ValueError: it has control characters or such as are not in Latin-1, or is longer than 64 KiB.
    """
    if len(text) > 1 << 16:
        raise ValueError(f"{len(text)} characters, the limit is {1 << 16}")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]", text):
        raise ValueError("contains control or non-Latin-1 characters")
    return text
