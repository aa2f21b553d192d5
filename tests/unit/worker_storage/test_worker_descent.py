# SPDX-License-Identifier: Apache-2.0
"""Removing trees: of any depth, never through a link, while others do the same."""

from __future__ import annotations

import os
import threading

import pytest

from llbkit.worker.fs.descent import Descent, open_directory, remove_tree

DEEP = 1500  # beyond Python's recursion limit and the usual limit of open files


def deep_tree(top) -> None:
    os.mkdir(top)
    descent = Descent(open_directory(top))
    for _ in range(DEEP):
        os.mkdir("a-name-that-makes-the-path-longer-than-paths-may-be", dir_fd=descent.directory)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descent.directory))
        descent.down("a-name-that-makes-the-path-longer-than-paths-may-be")
    descent.close()


def test_a_tree_deeper_than_any_path_is_removed(tmp_path) -> None:
    deep_tree(tmp_path / "top")
    remove_tree(tmp_path / "top")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "alias").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "top")
    remove_tree(tmp_path / "alias")
    remove_tree(tmp_path / "never-there")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]


def test_several_may_remove_the_same_tree(tmp_path) -> None:
    for number in range(300):
        (tmp_path / "top" / str(number % 7) / str(number)).mkdir(parents=True)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            remove_tree(tmp_path / "top")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_moved_away_meanwhile_is_noticed(tmp_path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    descent = Descent(open_directory(tmp_path / "a"))
    descent.down("b")
    (tmp_path / "a" / "b").rename(tmp_path / "b")
    with pytest.raises(OSError, match="was moved"):
        descent.up()
    descent.close()
