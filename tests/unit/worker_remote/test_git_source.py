# SPDX-License-Identifier: Apache-2.0
"""Git repositories as sources, over file://."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llbkit.worker.base import EnvironmentLackError, SourceError
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.git import GitSource
from llbkit.worker.sources.giturl import parse
from llbkit.worker.sources.repositories import Repositories

ENV = {
    **os.environ,
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_AUTHOR_DATE": "1600000000 +0000", "GIT_COMMITTER_DATE": "1600000000 +0000",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ALLOW_PROTOCOL": "file",
}  # fmt: skip
SESSION = LocalSession(id="s")


def git(folder, *args):
    return subprocess.run(
        ["git", "-C", folder, *args], env=ENV, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "sub").mkdir()
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    (folder / "top").write_text("one")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "-am", "release", "v1")
    (folder / "top").write_text("two")
    git(folder, "commit", "-qam", "two")
    git(folder, "branch", "v1-dev")
    return folder


def source_at(folder: Path, **options: str) -> GitSource:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return GitSource(Repositories(folder / "state" / "git"), scratch, **options)


@pytest.fixture
def source(tmp_path):
    return source_at(tmp_path)


def checkout(source, repo, tmp_path, token, fragment="", name="out", **attrs):
    attrs = {"git." + key: value for key, value in attrs.items()}
    spec = parse(f"git://repo{fragment}", {"git.fullurl": f"file://{repo}", **attrs})
    found = source.resolve(spec, token, session=SESSION)
    target = tmp_path / name
    target.mkdir()
    source.checkout(spec, found, target, token, session=SESSION)
    return found, target


@pytest.mark.parametrize(
    ("fragment", "text"), [("", "two"), ("#main", "two"), ("#v1", "one"), ("#refs/tags/v1", "one")]
)
def test_branches_and_tags_are_checked_out(source, repo, tmp_path, token, fragment, text):
    _, target = checkout(source, repo, tmp_path, token, fragment)
    assert (target / "top").read_text() == text
    assert sorted(os.listdir(target)) == ["sub", "top"]


def test_a_commit_is_resolved_without_asking(source, repo, tmp_path, token):
    first = git(repo, "rev-parse", "v1^{commit}")
    spec = parse(f"git://repo#{first}", {"git.fullurl": "file:///nowhere"})
    assert source.resolve(spec, token, session=SESSION).commit == first
    _, target = checkout(source, repo, tmp_path, token, f"#{first}")
    assert (target / "top").read_text() == "one"


def test_an_annotated_tag_stands_for_its_commit(source, repo, tmp_path, token):
    found, _ = checkout(source, repo, tmp_path, token, "#v1")
    assert (found.commit, found.tag) == (git(repo, "rev-parse", "v1^{commit}"), git(repo, "rev-parse", "v1"))
    assert source.commit_object(
        parse("git://repo#v1", {"git.fullurl": f"file://{repo}"}), found, token, session=SESSION
    ).startswith(b"tree ")


def test_a_subdirectory_becomes_the_root_with_its_modes(source, repo, tmp_path, token):
    _, target = checkout(source, repo, tmp_path, token, "#main:sub", mtime="commit")
    assert os.listdir(target) == ["run.sh"]
    status = (target / "run.sh").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o755, 1600000000)
    _, target = checkout(source, repo, tmp_path, token, "#main:sub", name="now", mtime="checkout")
    assert (target / "run.sh").stat().st_mtime > 1600000000


def test_the_git_directory_is_kept_on_demand(source, repo, tmp_path, token):
    found, target = checkout(source, repo, tmp_path, token, keepgitdir="true")
    assert git(target, "rev-parse", "HEAD") == found.commit
    assert git(target, "status", "--porcelain") == ""


def refs_in(target: Path) -> dict[str, str]:
    lines = git(target, "-c", "safe.directory=*", "for-each-ref", "--format=%(refname) %(objecttype)")
    return dict(line.split() for line in lines.splitlines())


@pytest.mark.parametrize(
    ("fragment", "refs", "described"),
    [
        ("", {"refs/heads/main": "commit", "refs/tags/main": "commit"}, "main"),
        ("#main", {"refs/heads/main": "commit", "refs/tags/main": "commit"}, "main"),
        ("#light", {"refs/heads/light": "commit", "refs/tags/light": "commit"}, "light"),
        ("#refs/tags/light", {"refs/heads/light": "commit", "refs/tags/light": "commit"}, "light"),
        ("#v1", {"refs/tags/v1": "tag"}, "v1"),
        ("#refs/tags/v1", {"refs/tags/v1": "tag"}, "v1"),
        ("#heads/dev/x", {"refs/heads/dev/x": "commit", "refs/tags/refs/heads/dev/x": "commit"}, "refs/heads/dev/x"),
        ("#refs/odd/1", {"refs/odd/1": "commit", "refs/tags/refs/odd/1": "commit"}, "refs/odd/1"),
    ],
)  # fmt: skip
def test_a_kept_git_directory_has_the_ref_that_was_asked_for(
    source, repo, tmp_path, token, fragment, refs, described
):
    """As recorded from BuildKit on a fresh state."""
    git(repo, "tag", "light", "v1^{commit}")
    git(repo, "branch", "dev/x")
    git(repo, "update-ref", "refs/odd/1", "HEAD")
    found, target = checkout(source, repo, tmp_path, token, fragment, keepgitdir="true")
    assert refs_in(target) == refs
    assert (target / ".git/HEAD").read_text().strip() == found.commit
    assert git(target, "-c", "safe.directory=*", "describe", "--tags") == described
    assert git(target, "-c", "safe.directory=*", "status", "--porcelain") == ""


def test_a_commit_has_no_refs(source, repo, tmp_path, token):
    commit = git(repo, "rev-parse", "v1^{commit}")
    _, target = checkout(source, repo, tmp_path, token, f"#{commit}", keepgitdir="true")
    assert refs_in(target) == {}


def test_a_kept_git_directory_tells_nothing_of_the_machine_and_is_the_same_each_time(repo, tmp_path, token):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "submodule", "add", "-q", f"file://{repo}", "inner")
    git(outer, "commit", "-qm", "x")
    git(outer, "tag", "-am", "x", "v2")
    kept = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, target = checkout(source_at(folder), outer, folder, token, "#v2", keepgitdir="true")
        files = {
            str(path.relative_to(target)): path.read_bytes()
            for path in target.rglob("*")
            if path.is_file() and "hooks" not in path.parts
        }
        assert not [path for path, data in files.items() if os.fsencode(folder) in data]
        assert not [path for path in files if path.endswith("FETCH_HEAD")]
        assert {path: data for path, data in files.items() if "/logs/" in path and data} == {}
        assert ".git/logs/HEAD" in files
        assert git(target, "-c", "safe.directory=*", "status", "--porcelain") == ""
        kept.append(files)
    assert kept[0] == kept[1]


def test_a_tag_that_moved_is_told(source, repo, tmp_path, token):
    spec = parse("git://repo#v1", {"git.fullurl": f"file://{repo}", "git.keepgitdir": "true"})
    found = source.resolve(spec, token, session=SESSION)
    git(repo, "tag", "-d", "v1")
    git(repo, "-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
    git(repo, "tag", "v1", "main")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="v1 has moved"):
        source.checkout(spec, found, tmp_path / "out", token, session=SESSION)


def test_submodules_come_along_unless_skipped(source, repo, tmp_path, token):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "submodule", "add", "-q", f"file://{repo}", "inner")
    git(outer, "commit", "-qm", "x")
    _, target = checkout(source, outer, tmp_path, token)
    assert sorted(os.listdir(target / "inner")) == ["sub", "top"]
    _, target = checkout(source, outer, tmp_path, token, name="skipped", skipsubmodules="true")
    assert os.listdir(target / "inner") == []


def test_a_checksum_must_match(source, repo, tmp_path, token):
    commit = git(repo, "rev-parse", "v1^{commit}")
    tag = git(repo, "rev-parse", "v1")
    for number, checksum in enumerate([commit, commit[:10], commit[:1], tag, tag[:2]]):
        checkout(source, repo, tmp_path, token, "#v1", name=f"a{number}", checksum=checksum)
    with pytest.raises(SourceError, match="not 0000000"):
        checkout(source, repo, tmp_path, token, "#v1", name="b", checksum="0000000")


def test_a_commit_is_fetched_by_its_id_without_asking_for_the_ref(source, repo, tmp_path, token):
    commit = git(repo, "rev-parse", "v1^{commit}")
    for number, (fragment, checksum) in enumerate([("#main", commit), ("#gone", commit), (f"#{commit}", "")]):
        found, target = checkout(
            source,
            repo,
            tmp_path,
            token,
            fragment,
            name=f"c{number}",
            checksum=checksum,
            fetchbycommit="true",
        )
        assert (found.commit, (target / "top").read_text()) == (commit, "one")


@pytest.mark.parametrize(
    ("checksum", "text"),
    [
        ("", "fetch-by-commit requires a checksum or a commit SHA ref"),
        ("abc123", 'fetch-by-commit requires a full commit SHA checksum, got "abc123"'),
    ],
)
def test_a_fetch_by_commit_needs_the_whole_id(source, repo, tmp_path, token, checksum, text):
    with pytest.raises(SourceError) as caught:
        checkout(source, repo, tmp_path, token, "#main", checksum=checksum, fetchbycommit="true")
    assert str(caught.value).endswith(text)


@pytest.mark.parametrize(
    ("attrs", "text"),
    [
        ({"git.mtime": "now"}, "unknown git.mtime 'now'"),
        ({"git.bundle": "docker-image+blob://x"}, "git.bundle is not supported"),
        ({"git.sig.pubkey": "k"}, "git.sig.pubkey is not supported"),
        ({"git.sig.requiresignedtag": "true"}, "git.sig.requiresignedtag is not supported"),
    ],
)
def test_attributes_that_cannot_be_followed_are_refused(attrs, text):
    with pytest.raises(SourceError, match=text):
        parse("git://h.test/a", {"git.fullurl": "https://h.test/a", **attrs})


@pytest.mark.parametrize(
    ("written", "subdir"),
    [("sub", "sub"), ("/sub/", "sub"), ("a/../sub/.", "sub"), (".", ""), ("/../sub", "sub")],
)
def test_a_directory_is_cleaned(written, subdir):
    assert parse(f"git://h.test/a#main:{written}", {}).subdir == subdir


@pytest.mark.parametrize("fragment", ["#nope", "#main:nope", "#" + "a" * 40])
def test_what_is_not_there_is_told(source, repo, tmp_path, token, fragment):
    with pytest.raises(SourceError) as caught:
        checkout(source, repo, tmp_path, token, fragment)
    assert caught.value.help


@pytest.mark.parametrize(
    ("remote", "fragment"),
    [("--upload-pack=x", ""), ("ext::sh", ""), ("https://a/b", "#-x"), ("https://a/b", "#m:../x")],
)
def test_dangerous_names_are_refused(remote, fragment):
    with pytest.raises(SourceError):
        parse(f"git://r{fragment}", {"git.fullurl": remote})


def test_secrets_do_not_show(repo):
    assert parse("git://x", {"git.fullurl": "https://me:pw@host/x"}).redacted == "https://me:xxxxx@host/x"


def test_a_missing_git_is_a_lack_of_the_host(tmp_path, token):
    with pytest.raises(EnvironmentLackError):
        source_at(tmp_path, program="no-such-git").resolve(
            parse("git://x", {"git.fullurl": "file:///x"}), token, session=SESSION
        )


def test_what_a_killed_git_left_is_in_nobodys_way(source, repo, tmp_path, token):
    checkout(source, repo, tmp_path, token, "#v1", name="before")
    (bare,) = (tmp_path / "state" / "git").glob("?" * 64)
    (bare / "shallow.lock").touch()
    found, target = checkout(source, repo, tmp_path, token, "#main", name="after")
    assert (target / "top").read_text() == "two"
    assert git(bare, "rev-list", "--count", found.commit) == "1"  # still without history


@pytest.mark.parametrize("missing", [["objects/info"], ["objects", "refs"], ["objects", "refs", "config"]])
def test_a_repository_whose_init_was_killed_is_completed(source, repo, tmp_path, token, missing):
    checkout(source, repo, tmp_path, token, "#v1", name="before")
    (bare,) = (tmp_path / "state" / "git").glob("?" * 64)
    shutil.rmtree(bare / "objects")
    git(bare, "init", "--quiet", "--bare")
    for name in missing:
        shutil.rmtree(bare / name) if (bare / name).is_dir() else (bare / name).unlink()
    (bare / "config.lock").touch()
    _, target = checkout(source, repo, tmp_path, token, "#main", name="after")
    assert (target / "top").read_text() == "two"
