# SPDX-License-Identifier: Apache-2.0
"""Git URLs as BuildKit parses them: URLs, ``user@host:path``, and bare ``host/path``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import field

from llbkit.llb.address import gourl
from llbkit.records import dataclass

_SCP = re.compile(
    r"(?P<address>[A-Za-z0-9_-]+@(?P<host>[A-Za-z0-9.-]+):(?P<path>.*?))(?:\?(?P<query>.*?))?(?:#(?P<fragment>.*))?"
)
_SCHEME = re.compile(r"([A-Za-z0-9]+)://")
SCHEMES = frozenset({"http", "https", "ssh", "git"})


class GitURLError(ValueError):
    """An address names no git repository. ``unknown``: it has no scheme, and may be a bare ``host/path``."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class GitURL:
    """A repository: ``full`` is what git is given, ``location`` the host and path that identify it.

    ``ref`` and ``subdir`` are those of the fragment, ``query`` its parameters, ``path`` is as the address has it.
    """

    scheme: str
    full: str
    location: str
    path: str = ""
    ref: str = ""
    subdir: str = ""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def is_ssh(self) -> bool:
        """Whether an SSH agent is needed."""
        return self.scheme == "ssh"


def parse(text: str) -> GitURL:
    """Read an address with a scheme, or one of the form ``user@host:path``.

    Raises:
        GitURLError: it is neither, its scheme is not one of git's, or it is malformed.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _scp(text)
    if scheme[1].lower() not in SCHEMES:
        raise GitURLError(f"{scheme[1].lower()}: invalid protocol")
    try:
        url = gourl.parse(text)
    except gourl.URLError as error:
        raise GitURLError(str(error)) from error
    ref, subdir = split_fragment(url.fragment)
    return GitURL(
        scheme=url.scheme,
        full=str(url),
        location=url.host + _joined(url.path),
        path=url.path,
        ref=ref,
        subdir=subdir,
        query=url.values(),
    )


def parse_or_bare(text: str) -> GitURL:
    """Read an address as `parse` does, or ``host/path``, which is HTTPS. Raises GitURLError."""
    try:
        return parse(text)
    except GitURLError as error:
        if not error.unknown:
            raise
    return parse(f"https://{text}")


def _scp(text: str) -> GitURL:
    match = _SCP.fullmatch(text)
    if match is None:
        raise GitURLError("unknown protocol", unknown=True)
    ref, subdir = split_fragment(match["fragment"] or "")
    query = gourl.URL(scheme="ssh", query=match["query"])
    return GitURL(
        scheme="ssh",
        full=match["address"],
        location=match["host"] + _joined(match["path"]),
        path=match["path"],
        ref=ref,
        subdir=subdir,
        query=query.values(),
    )


def _joined(path: str) -> str:
    """Return a path below the root, cleaned."""
    cleaned = posixpath.normpath("/" + path)
    return "/" + cleaned.lstrip("/")


def split_fragment(fragment: str) -> tuple[str, str]:
    """Return the ref and the cleaned subdirectory of ``ref:subdir``."""
    ref, _, subdir = fragment.partition(":")
    return ref, clean_subdir(subdir)


def clean_subdir(subdir: str) -> str:
    """Return a subdirectory relative to the repository's root; "" for the root itself."""
    return posixpath.normpath(posixpath.join("/", subdir)).lstrip("/")
