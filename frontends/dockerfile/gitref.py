# SPDX-License-Identifier: Apache-2.0
"""Which addresses BuildKit takes for git repositories: in ADD, as build context, as named context."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from frontends.dockerfile import errors
from frontends.dockerfile.gotext import parse_bool

_SCHEME = re.compile(r"^(https?|ssh|git)://", re.IGNORECASE)
_SSH = re.compile(r"^[A-Za-z0-9_-]+@[A-Za-z0-9.-]+:.*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    """A repository and what is wanted of it. ``fragment`` is ``ref[:subdir]``; None is "not said"."""

    remote: str
    fragment: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None


def is_http(text: str) -> bool:
    """Tell whether an address is one of HTTP(S)."""
    return text.startswith(("http://", "https://"))


def parse(text: str) -> GitRef | None:
    """Return the repository that an address names; None if it names none.

    HTTP addresses are repositories only if their path ends in ``.git``. An address may say what is wanted in its
    fragment (``#ref:subdir``) or its query (``?ref=...&subdir=...``).

    Raises:
        DockerfileError: the query holds something unknown.
    """
    if text.startswith(("./", "../")):
        return None
    if text.startswith("github.com/"):
        return _of_url("https://" + text) if url_path("https://" + text) is not None else None
    scheme = _SCHEME.match(text)
    if scheme is None:
        if not _SSH.match(text):
            return None
        remote, _, fragment = text.partition("#")
        return GitRef(remote=remote, fragment=fragment)
    path = url_path(text)
    if path is None or (scheme[1].lower() in ("http", "https") and not path.endswith(".git")):
        return None
    return _of_url(text)


def url_path(text: str) -> str | None:
    """Return the path of an address; None if it is malformed, such as ``http://[``."""
    try:
        return urlsplit(text).path
    except ValueError:
        return None


def _of_url(text: str) -> GitRef:
    rest, _, fragment = text.partition("#")
    remote, _, query = rest.partition("?")
    if not query:
        return GitRef(remote=remote, fragment=fragment)
    asked = dict(parse_qsl(query, keep_blank_values=True))
    known = {
        "ref",
        "tag",
        "branch",
        "subdir",
        "checksum",
        "commit",
        "keep-git-dir",
        "submodules",
    }
    for key in asked:
        if key not in known:
            raise errors.source(
                f"unexpected query {key!r} in git address",
                f"known are {', '.join(sorted(known))}",
            )
    return GitRef(
        remote=remote,
        fragment=_fragment(fragment, asked),
        checksum=asked.get("checksum") or asked.get("commit", ""),
        keep_git_dir=_truth(asked, "keep-git-dir"),
        submodules=_truth(asked, "submodules"),
    )


def _fragment(fragment: str, asked: Mapping[str, str]) -> str:
    ref, _, subdir = fragment.partition(":")
    if tag := asked.get("tag"):
        ref = f"refs/tags/{tag}"
    elif branch := asked.get("branch"):
        ref = f"refs/heads/{branch}"
    ref = asked.get("ref") or ref
    subdir = asked.get("subdir") or subdir
    return f"{ref}:{subdir}" if subdir else ref


def _truth(asked: Mapping[str, str], key: str) -> bool | None:
    if key not in asked:
        return None
    found = parse_bool(asked[key]) if asked[key] else True
    if found is None:
        raise errors.source(
            f"invalid value {asked[key]!r} of {key} in git address",
            "write true or false",
        )
    return found
