# SPDX-License-Identifier: Apache-2.0
"""Git addresses whose query says what is wanted: in ADD, as main context, as named context."""

from __future__ import annotations

import pytest

from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.llb.ir.ops import Source as SourceOp
from tests.unit.dockerfile.test_dockerfile_as_buildkit import FROM, HOST, lower, message, source_of


def git_sources(text: str, **attrs: str) -> list[tuple[str, dict[str, str], set[str]]]:
    """Return the git sources of a build: identifier, attributes that are not common to all, caps."""
    graph = lower(text, **attrs).state.graph()
    return [
        (
            vertex.op.identifier,
            {k: v for k, v in vertex.op.attrs.items() if "secret" not in k and k != "git.fullurl"},
            {cap for cap in graph.metadata_of(vertex.digest).caps if cap.count(".") > 1}
            - {"source.git.fullurl"},
        )
        for vertex in graph
        if isinstance(vertex.op, SourceOp) and vertex.op.identifier.startswith("git://")
    ]


@pytest.mark.parametrize(
    ("query", "attr", "value"),
    [
        ("checksum=ab", "checksum", "ab"),
        ("commit=ab", "checksum", "ab"),
        ("keep-git-dir", "keepgitdir", "true"),
        ("keep-git-dir=", "keepgitdir", "true"),
        ("keep-git-dir=T", "keepgitdir", "true"),
        ("submodules=0", "skipsubmodules", "true"),
        ("fetch-by-commit", "fetchbycommit", "true"),
        ("fetch-by-commit=1", "fetchbycommit", "true"),
    ],
)
@pytest.mark.parametrize("place", ["add", "main", "named"])
def test_a_query_becomes_an_attribute_with_its_cap(place: str, query: str, attr: str, value: str) -> None:
    address = f"{HOST}?{query}"
    text, attrs = {
        "add": (f"FROM scratch\nADD {address} /\n", {}),
        "main": ("FROM scratch\nCOPY a /\n", {"context": address}),
        "named": ("FROM scratch\nCOPY --from=q a /\n", {"context:q": address}),
    }[place]
    ((_, found, caps),) = git_sources(text, **attrs)
    assert (found, caps) == ({f"git.{attr}": value}, {f"source.git.{attr}"})


@pytest.mark.parametrize("query", ["submodules", "submodules=true", "keep-git-dir=0", "fetch-by-commit=f"])
def test_a_query_that_says_the_default_changes_nothing(query: str) -> None:
    assert source_of(f"{HOST}?{query}") == source_of(HOST)


@pytest.mark.parametrize("value", ["commit", "checkout"])
def test_the_time_of_files_is_chosen_for_contexts_and_not_for_add(value: str) -> None:
    address = f"{HOST}?mtime={value}"
    assert source_of(address) == source_of(HOST)
    for text, attrs in (
        ("FROM scratch\nCOPY a /\n", {"context": address}),
        ("FROM q\n", {"context:q": address}),
    ):
        assert [found[1:] for found in git_sources(text, **attrs)] == [
            ({"git.mtime": value}, {"source.git.mtime"})
        ]


@pytest.mark.parametrize(
    ("query", "argument", "kept"),
    [("", "1", True), ("?keep-git-dir=0", "true", True), ("?keep-git-dir", "0", True), ("", "x", False)],
)
def test_the_query_or_the_build_argument_keeps_the_git_directory(
    query: str, argument: str, kept: bool
) -> None:
    attrs = {"context": HOST + query, "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR": argument}
    ((_, found, _),) = git_sources("FROM scratch\nCOPY a /\n", **attrs)
    assert found == ({"git.keepgitdir": "true"} if kept else {})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{HOST}?bogus", 'query "bogus" has no value'),
        (f"{HOST}?Ref=a", 'unexpected query "Ref"'),
        (f"{HOST}?mtime", 'query "mtime" has no value'),
        (f"{HOST}?mtime=now", 'invalid mtime value: "now" (must be "checkout" or "commit")'),
        (f"{HOST}?mtime=Commit", 'invalid mtime value: "Commit" (must be "checkout" or "commit")'),
        (f"{HOST}?fetch-by-commit=x", 'invalid fetch-by-commit value: "x"'),
        (f"{HOST}?ref=b&branch=b", 'ref conflicts: "b" vs "refs/heads/b"'),
        (f"{HOST}?tag=a&submodules=x#b", 'invalid submodules value: "x"'),
        (f"{HOST}?tag=a&branch=b#c", 'ref conflicts: "c" vs "refs/tags/a"'),
        (f"{HOST}?subdir=/d#x:d", 'subdir conflicts: "d" vs "/d"'),
        ("github.com/a/b?bogus=1", 'unexpected query "bogus"'),
        ("git@h.test:a?bogus=1", 'unexpected query "bogus"'),
        ("--checksum=a git@h.test:a?bogus=1", "checksum requires HTTP(S) or Git sources"),
    ],
)
def test_malformed_queries_are_refused(line: str, text: str) -> None:
    assert message(f"{FROM}ADD {line} /x\n") == text


def test_what_a_query_says_may_agree_with_the_fragment() -> None:
    assert source_of(f"{HOST}?ref=m&subdir=b#m:/a/../b/")[0] == "git://h.test/a/b.git#m:b"


def test_a_checksum_and_git_directory_hold_for_the_later_sources_of_an_add() -> None:
    add = f"{FROM}ADD {HOST}?checksum=ab&keep-git-dir https://h.test/c.git https://h.test/d.git?ref=x /x/\n"
    kept = {"git.checksum": "ab", "git.keepgitdir": "true"}
    assert [attrs for _, attrs, _ in git_sources(add)] == [kept] * 3
    only_later = git_sources(f"{FROM}ADD {HOST} https://h.test/c.git?checksum=ab /x/\n")
    assert sorted((name, attrs) for name, attrs, _ in only_later) == [
        ("git://h.test/a/b.git", {}),
        ("git://h.test/c.git", {"git.checksum": "ab"}),
    ]


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ("https://h.test/c.git?checksum=cd", 'checksum mismatch "ab" != "cd"'),
        ("https://h.test/c.git?keep-git-dir=0", "inconsistent keep-git-dir configuration"),
        ("https://h.test/file", "invalid checksum digest format"),
    ],
)
def test_later_sources_of_an_add_may_not_contradict_the_first(sources: str, text: str) -> None:
    assert message(f"{FROM}ADD {HOST}?checksum=ab&keep-git-dir {sources} /x/\n") == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{HOST}?ref=", 'query "ref" has no value'),
        (HOST, "source can't be a git ref for COPY"),
    ],
)
def test_a_query_is_read_before_copy_refuses_a_repository(line: str, text: str) -> None:
    assert message(f"{FROM}COPY {line} /x\n") == text


def test_errors_of_a_main_context_have_no_place_and_those_of_a_named_one_that_of_its_user() -> None:
    address = f"{HOST}?bogus=1"
    for text, attrs, lines in (
        ("FROM scratch\n", {"context": address}, []),
        ("FROM scratch\nFROM q\nCOPY a /\n", {"context:q": address}, [((2, 2),)]),
        ("FROM scratch\n\nCOPY --from=q a /\n", {"context:q": address}, [((3, 3),)]),
    ):
        with pytest.raises(ProgramError) as caught:
            lower(text, **attrs)
        assert caught.value.diagnostics[0].message == 'unexpected query "bogus"'
        assert [place.lines for place in caught.value.locations] == lines


@pytest.mark.parametrize(
    ("checksum", "text"),
    [
        ("x", "invalid checksum digest format"),
        ("sha256:", "invalid checksum digest format"),
        ("sha256:!!!", "invalid checksum digest length"),
        ("sha256:" + "A" * 64, "invalid checksum digest format"),
        ("md5:" + "a" * 32, "unsupported digest algorithm"),
    ],
)
def test_the_checksum_of_a_file_is_a_digest(checksum: str, text: str) -> None:
    assert message(f"{FROM}ADD --checksum={checksum} https://h.test/f /x\n") == text
