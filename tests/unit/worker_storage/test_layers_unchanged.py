# SPDX-License-Identifier: Apache-2.0
"""What comparing a layer with those below costs, and what it leaves alone. What it finds: the snapshotters' suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llbkit.worker.fs.bytescopy import equal_content
from llbkit.worker.snapshot import unchanged
from llbkit.worker.snapshot.overlayfs import Stack, make_opaque
from llbkit.worker.snapshot.unchanged import drop_unchanged


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Return the directories that are listed from now on."""
    seen: list[str] = []
    scan = os.scandir

    def scandir(path: str):
        seen.append(path)
        return scan(path)

    monkeypatch.setattr(unchanged.os, "scandir", scandir)
    return seen


def test_nothing_below_a_new_directory_is_looked_at(tmp_path: Path, opened: list[str]) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "old").mkdir(parents=True)
    (upper / "old").mkdir(parents=True)
    (upper / "new/sub").mkdir(parents=True)
    (upper / "old/f").write_text("x")
    drop_unchanged(upper, [lower])
    assert sorted(opened) == [str(upper), str(upper / "old")]


def test_a_directory_of_which_only_the_time_changed_is_not_in_the_layer(tmp_path: Path) -> None:
    """As BuildKit 0.25 has it: the time is kept if something else in the directory changed."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for name in ("touched", "changed"):
        (lower / name).mkdir(parents=True)
        (upper / name).mkdir(parents=True)
    (upper / "changed/f").write_text("x")
    for name in ("touched", "changed"):
        os.utime(upper / name, (1, 1))
    drop_unchanged(upper, [lower])
    assert os.listdir(upper) == ["changed"]
    assert (upper / "changed").stat().st_mtime == 1


def test_content_is_read_only_where_all_else_is_equal(tmp_path: Path, monkeypatch) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for root in (lower, upper):
        root.mkdir()
        for name in ("same", "mode", "size", "time"):
            (root / name).write_text(name)
            os.utime(root / name, (1, 1))
    (upper / "mode").chmod(0o600)
    (upper / "size").write_text("longer")
    os.utime(upper / "time", (1, 2))
    read: list[str] = []

    def compare(left: str, right: str) -> bool:
        read.append(os.path.basename(left))
        return equal_content(left, right)

    monkeypatch.setattr(unchanged, "equal_content", compare)
    drop_unchanged(upper, [lower])
    assert read == ["same"]
    assert sorted(os.listdir(upper)) == ["mode", "size", "time"]


@pytest.mark.parametrize(
    ("changed", "equal"), [(None, True), (0, False), (1 << 25, False), ((1 << 40) - 1, False)]
)
def test_holes_are_not_read(tmp_path: Path, changed: int | None, equal: bool) -> None:
    """A terabyte of them is compared in no time."""
    for name in ("a", "b"):
        with (tmp_path / name).open("wb") as file:
            for position in (1 << 25, 1 << 39):
                file.seek(position)
                file.write(b"data")
            file.truncate(1 << 40)
    if changed is not None:
        with (tmp_path / "b").open("r+b") as file:
            file.seek(changed)
            file.write(b"D")
    assert equal_content(str(tmp_path / "a"), str(tmp_path / "b")) is equal


def test_paths_too_long_for_the_layers_below_stay(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    deep = "/".join(["d" * 200] * 12)
    for root in (lower, upper):
        root.mkdir()
        (root / deep).mkdir(parents=True)
        (root / deep / "f").write_text("x")
        os.utime(root / deep / "f", (1, 1))
    drop_unchanged(upper, [lower])
    assert (upper / deep / "f").exists()


@pytest.mark.root
def test_what_a_replaced_directory_hid_stays_hidden_however_deep_it_is(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    folder = "/".join(["d" * 200] * 12)
    (lower / folder).mkdir(parents=True)
    (lower / folder / "gone").touch()
    (upper / folder).mkdir(parents=True)
    (upper / folder / "new").touch()
    make_opaque(os.fspath(upper / ("d" * 200)))
    drop_unchanged(upper, [lower])
    assert Stack([upper, lower]).lookup(f"{folder}/gone") is None
