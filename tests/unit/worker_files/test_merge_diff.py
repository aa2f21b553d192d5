# SPDX-License-Identifier: Apache-2.0
"""Merges and diffs of layer stacks."""

from __future__ import annotations

import os
import stat

import pytest

from llbkit.llb.ir import ops
from llbkit.llb.ir.ops import MkDir, MkFile, Rm
from llbkit.worker.base import SCRATCH, Snapshot
from llbkit.worker.ops.merge import stacked
from llbkit.worker.session.directory import LocalDirectory
from llbkit.worker.sources.localtree import LocalTree
from llbkit.worker.sources.statcache import StatCache


def test_stacks_are_concatenated_and_keep_a_layer_in_each_of_its_places() -> None:
    assert stacked([Snapshot((1, 2)), Snapshot((3,)), Snapshot((1, 4))]) == Snapshot((1, 2, 3, 1, 4))
    assert stacked([SCRATCH, Snapshot((1,))]) == Snapshot((1,))
    assert stacked([]) == SCRATCH


@pytest.mark.root
class TestOnLayers:
    def test_a_merge_lays_later_inputs_on_top(self, world) -> None:
        below, above = world.make({"a": b"1", "b": b"1"}), world.make({"b": b"2", "c": b"2"})
        merged = world.run(ops.Merge(inputs=(0, 1)), below, above)[0]
        assert {path: node[3] for path, node in world.look(merged).items()} == {
            "a": b"1",
            "b": b"2",
            "c": b"2",
        }

    def test_a_merge_of_a_directory_makes_a_layer_of_it(self, world, tmp_path, helpers) -> None:
        (tmp_path / "ctx").mkdir()
        helpers.fill(tmp_path / "ctx", {"n": b"n"})
        made = world.make({"n": b"n"})
        tree = LocalTree(
            LocalDirectory(tmp_path / "ctx"), StatCache("x", None), materialize=lambda tree: made
        )
        assert (
            world.run(ops.Merge(inputs=(0, 1)), world.make({"o": b"o"}), tree)[0].layers[-1] == made.layers[0]
        )

    def test_a_diff_to_a_prefix_is_the_rest_of_the_stack(self, world) -> None:
        base = world.make({"a": b"1", "b": b"1"})
        grown = world.files(Rm(path="/a"), MkFile(path="/c", mode=0o644, data=b"3"), base=base)
        diff = world.run(ops.Diff(lower=0, upper=1), base, grown)[0]
        assert diff.layers == grown.layers[1:]
        assert set(world.look(diff)) == {"c"}
        other = world.make({"a": b"other", "z": b"z"})
        assert set(world.look(world.run(ops.Merge(inputs=(0, 1)), other, diff)[0])) == {"c", "z"}

    def test_a_diff_to_scratch_is_all_and_to_itself_nothing(self, world) -> None:
        base = world.make({"a": b"1"})
        assert world.run(ops.Diff(lower=-1, upper=0), base)[0] == base
        assert world.run(ops.Diff(lower=0, upper=1), base, base)[0] == SCRATCH

    def test_a_computed_diff_turns_one_tree_into_the_other(self, world) -> None:
        lower = world.make(
            {"same": b"s", "gone/x": b"x", "file": b"f", "dir/x": b"x", "deep/a/b": b"1", "l": "same"}
        )
        upper = world.make(
            {"same": b"s", "file/now": b"dir", "dir": b"file", "deep/a/b": b"2", "new": b"n", "l": "new"}
        )
        diff = world.run(ops.Diff(lower=0, upper=1), lower, upper)[0]
        assert len(diff.layers) == 1
        assert world.look(world.run(ops.Merge(inputs=(0, 1)), lower, diff)[0]) == world.look(upper)

    def test_a_computed_diff_leaves_out_what_did_not_change(self, world) -> None:
        def work(token: object) -> Snapshot:
            with world.snapshotter.prepare(SCRATCH) as active:
                for name in ("big", "d/kept"):
                    (active.path / name).parent.mkdir(exist_ok=True)
                    (active.path / name).write_bytes(b"content")
                    os.utime(active.path / name, (5, 5))
                os.utime(active.path / "d", (5, 5))
                return active.commit()

        one, two = (world.pools.run_sync("disk", work) for _ in range(2))
        grown = world.files(MkDir(path="/n", mode=0o755), base=two)
        diff = world.run(ops.Diff(lower=0, upper=1), one, grown)[0]
        assert set(world.look(diff)) == {"n"}

    def test_a_computed_diff_has_whiteouts(self, world) -> None:
        diff = world.run(
            ops.Diff(lower=0, upper=1), world.make({"a": b"", "d/b": b""}), world.make({"d": None})
        )[0]
        layer = world.layers.path(diff.layers[0])
        for name in ("a", "d/b"):
            status = os.lstat(layer / name)
            assert stat.S_ISCHR(status.st_mode)
            assert status.st_rdev == 0

    def test_metadata_alone_is_a_change(self, world) -> None:
        base = world.make({"f": b"f"})
        other = world.files(
            MkFile(path="/f", mode=0o644, data=b"f", owner=ops.Chown(user=4)), base=world.make({"f": b""})
        )
        diff = world.run(ops.Diff(lower=0, upper=1), base, other)[0]
        assert world.look(diff)["f"][2] == "4:4"

    def test_whiteouts_are_not_listed_where_there_is_nothing_to_hide(self, world) -> None:
        diff = world.run(
            ops.Diff(lower=0, upper=1), world.make({"d/x": b"", "d/y": b""}), world.make({"d/y": b"2"})
        )[0]
        merged = world.run(ops.Merge(inputs=(0, 1)), world.make({"z": b""}), diff)[0]
        assert world.inside(merged, lambda path: os.listdir(path / "d")) == ["y"]
