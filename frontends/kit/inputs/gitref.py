# SPDX-License-Identifier: Apache-2.0
"""Recognise the URLs that BuildKit takes for git repositories: in ADD, as build context, as named context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_bool
from llbkit.llb import git
from llbkit.llb.address import giturl
from llbkit.llb.builder.state import State
from llbkit.records import dataclass

_BOOLEANS = ("keep-git-dir", "submodules", "fetch-by-commit")
_QUERIES = ("ref", "tag", "branch", "subdir", "checksum", "commit", "mtime", *_BOOLEANS)
_MTIMES = ("checkout", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    """A repository and what is wanted of it; None is "not said"."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    fetch_by_commit: bool | None = None
    mtime: Literal["", "checkout", "commit"] = ""


def is_http(text: str) -> bool:
    """Return whether an address is one of HTTP(S)."""
    return text.startswith(("http://", "https://"))


def parse(text: str) -> GitRef | None:
    """Return the repository that an address names; None if it names none.

    HTTP addresses are repositories only if their path ends in ``.git``. An address may say what is wanted in its
    fragment (``#ref:subdir``) or its query (``?ref=...&subdir=...``).

    Raises:
        ProgramError: the query holds something unknown, or says two things.
    """
    if text.startswith(("./", "../")):
        return None
    short = text.startswith("github.com/")
    try:
        url = giturl.parse(f"https://{text}" if short else text)
    except giturl.GitURLError:
        return None
    if not short and url.scheme in ("http", "https") and not url.path.endswith(".git"):
        return None
    return _asked(url)


def _asked(url: giturl.GitURL) -> GitRef:
    """Return what the fragment and the query of an address ask for.

    Each parameter is checked alone before a tag and a branch are compared with the ref.
    """
    asked = {key: _only(key, values) for key, values in url.query.items()}
    ref = _agreed("ref", url.ref, asked.get("ref", ""))
    found = GitRef(
        remote=url.full,
        subdir=_agreed("subdir", url.subdir, asked.get("subdir", "")),
        checksum=asked.get("checksum") or asked.get("commit", ""),
        keep_git_dir=_boolean(asked, "keep-git-dir"),
        submodules=_boolean(asked, "submodules"),
        fetch_by_commit=_boolean(asked, "fetch-by-commit"),
        mtime=_mtime(asked),
    )
    for kind, folder in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if kind in asked:
            if kind == "branch" and "tag" in asked:
                raise errors.source("branch conflicts with tag", "use one of them")
            ref = _agreed("ref", ref, folder + asked[kind].removeprefix(folder))
    return replace(found, ref=ref)


def _only(key: str, values: Sequence[str]) -> str:
    """Return the one value of a parameter."""
    if len(values) > 1:
        raise errors.source(f"query {go_quote(key)} has multiple values", f"write {key} once")
    (value,) = values
    if not value and key not in _BOOLEANS:
        raise errors.source(f"query {go_quote(key)} has no value", f"write {key}=value")
    if key not in _QUERIES:
        raise errors.source(f"unexpected query {go_quote(key)}", f"known keys: {', '.join(_QUERIES)}")
    return value


def _agreed(what: str, first: str, second: str) -> str:
    """Return what two places say, if at most one of them says something or both say the same."""
    if first and second and first != second:
        message = f"{what} conflicts: {go_quote(first)} vs {go_quote(second)}"
        raise errors.source(message, f"give one {what}")
    return first or second


def _boolean(asked: Mapping[str, str], key: str) -> bool | None:
    if key not in asked:
        return None
    found = parse_bool(asked[key]) if asked[key] else True
    if found is None:
        raise errors.source(f"invalid {key} value: {go_quote(asked[key])}", "write true or false")
    return found


def _mtime(asked: Mapping[str, str]) -> Literal["", "checkout", "commit"]:
    value = asked.get("mtime", "")
    if value and value not in _MTIMES:
        message = f'invalid mtime value: {go_quote(value)} (must be "checkout" or "commit")'
        raise errors.source(message, "write mtime=checkout or mtime=commit")
    return cast("Literal['', 'checkout', 'commit']", value)


def git_state(where: str, *, keep_git_dir: bool = False, mtime: Literal["", "commit"] = "") -> State | None:
    """Return the state of a git context; None if the address is none of git.

    ``keep_git_dir`` keeps ``.git``, whatever the address says; ``mtime`` counts where the address says none.

    Raises:
        ProgramError: the address contradicts itself.
    """
    found = parse(where)
    if found is None:
        return None
    return git(
        found.remote,
        ref=found.ref,
        subdir=found.subdir,
        keep_git_dir=keep_git_dir or bool(found.keep_git_dir),
        checksum=found.checksum,
        skip_submodules=found.submodules is False,
        mtime=found.mtime or mtime,
        fetch_by_commit=bool(found.fetch_by_commit),
        name=f"[internal] load git source {where}",
    )
