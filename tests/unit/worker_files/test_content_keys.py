# SPDX-License-Identifier: Apache-2.0
"""Content keys: what counts, what does not."""

from __future__ import annotations

import os

import pytest

from llbkit.worker.base import Snapshot
from llbkit.worker.fs.contenthash import ContentHasher, StoredDigests, digest_of
from llbkit.worker.fs.select.selection import Selection
from llbkit.worker.fs.tree import DirectoryTree
from llbkit.worker.host.pools import Token
from llbkit.worker.state.metadata import Metadata


@pytest.fixture
def root(tmp_path, helpers):
    helpers.fill(
        tmp_path,
        {"d/f": b"1", "d/g": b"2", "d/sub/h": b"3", "d/l": "f", "e/f": b"1", "x1.txt": b"1", "x2.txt": b"2"},
    )
    return tmp_path


def key(root, **selection):
    return digest_of(DirectoryTree(str(root)), [Selection(**selection)], Token())


def changes(root, change, **selection) -> bool:
    before = key(root, **selection).digest
    change()
    return key(root, **selection).digest != before


def test_content_counts(root) -> None:
    assert changes(root, lambda: (root / "d/f").write_bytes(b"9"), src="/d")


def test_times_do_not_count(root) -> None:
    assert not changes(root, lambda: os.utime(root / "d/f", (5, 5)), src="/d")


def test_modes_count_unless_the_copy_sets_them(root) -> None:
    assert changes(root, lambda: (root / "d/f").chmod(0o600), src="/d")
    assert not changes(root, lambda: (root / "d/f").chmod(0o640), src="/d", modes=False)


def test_attributes_count(root) -> None:
    assert changes(root, lambda: os.setxattr(root / "d/f", "user.a", b"1"), src="/d")


def test_link_targets_count(root) -> None:
    def turn() -> None:
        (root / "d/l").unlink()
        (root / "d/l").symlink_to("g")

    assert changes(root, turn, src="/d")


def test_names_count_below_the_selection_only(root) -> None:
    assert key(root, src="/d/f").digest == key(root, src="/e/f").digest
    assert changes(root, lambda: (root / "d/f").rename(root / "d/ff"), src="/d")


def test_an_empty_directory_counts(root) -> None:
    assert changes(root, (root / "d/new").mkdir, src="/d")


def test_a_file_that_moves_between_directories_counts(root) -> None:
    assert changes(root, lambda: (root / "d/f").rename(root / "d/sub/f"), src="/d")


def test_what_is_not_selected_does_not_count(root) -> None:
    assert not changes(root, lambda: (root / "e/f").write_bytes(b"9"), src="/d")
    assert not changes(root, lambda: (root / "d/g").write_bytes(b"9"), src="/d", include=("f",))
    assert not changes(root, lambda: (root / "d/sub/h").write_bytes(b"9"), src="/d", exclude=("sub",))


def test_the_selected_directory_itself_counts_only_if_it_is_copied(root) -> None:
    assert not changes(root, lambda: (root / "d").chmod(0o700), src="/d")
    assert changes(root, lambda: (root / "d").chmod(0o711), src="/d", contents=False)


def test_wildcards_take_names_into_account(root) -> None:
    before = key(root, src="/x?.txt", wildcard=True).digest
    (root / "x2.txt").rename(root / "x3.txt")
    assert key(root, src="/x?.txt", wildcard=True).digest != before
    assert key(root, src="/none*", wildcard=True).digest != before


def test_a_missing_path_has_a_digest_of_its_own(root) -> None:
    (root / "nil").mkdir()
    found = key(root, src="/missing")
    assert found.digest != key(root, src="/nil").digest
    assert found.ingredients == {"files": {"/missing": "missing"}}


def test_a_missing_required_path_counts(root) -> None:
    selection = {"src": "/", "include": ("q",), "required": ("/q",)}
    assert changes(root, lambda: (root / "q").write_bytes(b""), **selection)


def test_links_to_the_selection_are_followed_on_demand(root) -> None:
    (root / "to").symlink_to("d/f")
    assert key(root, src="/to", follow=True).digest == key(root, src="/d/f").digest
    assert key(root, src="/to").digest != key(root, src="/d/f").digest


def test_ingredients_name_the_files(root) -> None:
    files = key(root, src="/d").ingredients["files"]
    assert set(files) == {"/d/f", "/d/g", "/d/sub", "/d/sub/h", "/d/l"}
    assert files["/d/l"] == "-> f"


def test_ingredients_of_many_files_are_bounded_and_name_directories(root) -> None:
    for number in range(700):
        (root / "d" / f"n{number}").write_bytes(b"")
    ingredients = key(root, src="/").ingredients
    assert "/d/" in ingredients["files"]
    before = ingredients["files"]["/e/"]
    (root / "d/n5").write_bytes(b"5")
    after = key(root, src="/").ingredients["files"]
    assert after["/e/"] == before
    assert after["/d/"] != ingredients["files"]["/d/"]


def test_keys_of_snapshots_are_computed_once(root, tmp_path_factory) -> None:
    views = []

    class Plain:
        name = "plain"

        def view(self, snapshot):
            from contextlib import nullcontext

            views.append(snapshot)
            return nullcontext(root)

    database = Metadata(tmp_path_factory.mktemp("db") / "metadata.db")
    hasher = ContentHasher(Plain(), lambda snapshot, token: None, StoredDigests(database))
    snapshot = Snapshot((1,))
    first = hasher.key(snapshot, [Selection(src="/d")], Token())
    assert hasher.key(snapshot, [Selection(src="/d")], Token()) == first
    assert len(views) == 1
    hasher.key(snapshot, [Selection(src="/e")], Token())
    hasher.key(Snapshot((2,)), [Selection(src="/d")], Token())
    assert len(views) == 3
    database.close()


def test_links_are_never_entered_by_the_kernel(root, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_bytes(b"s")
    (root / "out").symlink_to(outside)
    tree = DirectoryTree(str(root))
    assert tree.children("out") == {}
    assert tree.children("out/deeper") == {}
    assert [found.chosen for found in Selection(src="/*/*.txt", wildcard=True).roots(tree)] == []
