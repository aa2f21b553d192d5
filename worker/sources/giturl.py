# SPDX-License-Identifier: Apache-2.0
"""The attributes of a git source: a remote, a ref, a directory, and how to check it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from llbkit.grammar.patterns.match import clean_path
from llbkit.records import dataclass
from llbkit.worker.base import SourceError

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP = re.compile(r"(?:[^@/:]+@)?[^/:]+:(?!//)")
_SCHEMES = ("http", "https", "ssh", "git", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSpec:
    """A git source. ``ref`` "" is the remote's HEAD; ``subdir`` has no leading or trailing slash."""

    remote: str
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    checksum: str = ""
    commit_mtime: bool = False
    fetch_by_commit: bool = False
    token_secret: str = "GIT_AUTH_TOKEN"
    header_secret: str = "GIT_AUTH_HEADER"
    ssh: str = ""
    known_hosts: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether ``ref`` is a full commit id."""
        return is_commit_id(self.ref)

    @property
    def host(self) -> str:
        """The remote's host, with its port if there is one: what secrets of one host only are named after."""
        if "://" in self.remote:
            return urlsplit(self.remote).netloc.rpartition("@")[2]
        return self.remote.partition(":")[0].rpartition("@")[2]

    @property
    def redacted(self) -> str:
        """The remote with credentials redacted."""
        if "://" not in self.remote:
            return self.remote
        parts = urlsplit(self.remote)
        if parts.password is None:
            return self.remote
        netloc = f"{parts.username}:xxxxx@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))


def is_commit_id(text: str) -> bool:
    """Return whether a text is a commit id in full."""
    return _COMMIT.fullmatch(text) is not None


def parse(identifier: str, attrs: Mapping[str, str]) -> GitSpec:
    """Read a ``git://`` source.

    Raises:
        SourceError: the remote, ref or directory is malformed, or asks for what is not supported.
    """
    name, _, fragment = identifier.removeprefix("git://").partition("#")
    remote = attrs.get("git.fullurl") or f"https://{name}"
    remote, _, own = remote.partition("#")
    ref, _, subdir = (fragment or own).partition(":")
    for part in sorted(attrs):
        if attrs[part] and part.startswith(("git.bundle", "git.checkoutbundle", "git.sig.")):
            raise SourceError(f"{part} is not supported yet", help="remove it")
    _check(remote, ref)
    subdir = clean_path(subdir).strip("/")
    if subdir.partition("/")[0] == "..":
        raise SourceError(f"{identifier}: subdirectory {subdir!r} is outside the repository")
    mtime = attrs.get("git.mtime", "")
    if mtime not in ("", "checkout", "commit"):
        raise SourceError(f"{identifier}: unknown git.mtime {mtime!r}", help="use checkout or commit")
    return GitSpec(
        remote=remote,
        ref=ref,
        subdir="" if subdir == "." else subdir,
        keep_git_dir=_flag(attrs, "git.keepgitdir"),
        submodules=not _flag(attrs, "git.skipsubmodules"),
        checksum=attrs.get("git.checksum", ""),
        commit_mtime=mtime == "commit",
        fetch_by_commit=_flag(attrs, "git.fetchbycommit"),
        token_secret=attrs.get("git.authtokensecret") or "GIT_AUTH_TOKEN",
        header_secret=attrs.get("git.authheadersecret") or "GIT_AUTH_HEADER",
        ssh=attrs.get("git.mountsshsock", ""),
        known_hosts=attrs.get("git.knownsshhosts", ""),
    )


def _flag(attrs: Mapping[str, str], key: str) -> bool:
    return attrs.get(key, "") in ("true", "1")


def _check(remote: str, ref: str) -> None:
    scheme = remote.partition("://")[0] if "://" in remote else ""
    if (
        remote.startswith("-")
        or "::" in remote
        or (scheme and scheme not in _SCHEMES)
        or (not scheme and not _SCP.match(remote))
    ):
        raise SourceError(
            f"{remote!r} is not a git remote", help=f"use one of {', '.join(_SCHEMES)}:// or user@host:path"
        )
    if ref.startswith("-") or re.search(r"[\x00-\x20~^:?*\[\\\x7f]|\.\.|@\{", ref):
        raise SourceError(f"{ref!r} is not a git ref", help="use a branch, tag or commit")
