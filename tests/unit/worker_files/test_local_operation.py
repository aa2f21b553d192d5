# SPDX-License-Identifier: Apache-2.0
"""The operation of local sources, and symbolic modes."""

from __future__ import annotations

import asyncio
import json

import pytest

from llbkit.llb.ir.ops import Source
from llbkit.worker.base import FileOpError, SourceError
from llbkit.worker.fs.modes import parse_mode
from llbkit.worker.ops.source.local import LocalOperation
from llbkit.worker.session.local import LocalSession

pytestmark = pytest.mark.root


@pytest.fixture
def local(world, tmp_path, helpers):
    root = tmp_path / "ctx"
    root.mkdir()
    helpers.fill(root, {"a.txt": b"a", "b.log": b"b", "d/c": b"c"})

    def make(name: str = "context", **attrs: object) -> LocalOperation:
        source = Source(
            identifier=f"local://{name}", attrs={f"local.{key}": json.dumps(v) for key, v in attrs.items()}
        )
        session = LocalSession(id="s", locals={"context": root})
        return LocalOperation(
            source,
            session,
            caches=world.caches,
            hold=world.state.lease.hold_layers,
            snapshotter=world.snapshotter,
            pools=world.pools,
        )

    return make


def result(operation: LocalOperation):
    return asyncio.run(operation.execute([], None))[0]


def test_the_key_is_volatile_and_of_the_filters(local) -> None:
    plain, filtered = (
        asyncio.run(operation.cache_map(None)) for operation in (local(), local(excludepatterns=["*.log"]))
    )
    assert plain.volatile
    assert plain.digest != filtered.digest
    assert filtered.ingredients["exclude"] == ["*.log"]


def test_nothing_is_read_before_somebody_looks(local, monkeypatch) -> None:
    monkeypatch.setattr("llbkit.worker.session.directory.walk", lambda *arguments: pytest.fail("was read"))
    result(local())


def test_the_filters_of_the_source_apply(local) -> None:
    assert set(result(local(excludepatterns=["*.log"])).children("")) == {"a.txt", "d"}
    assert set(result(local(includepattern=["d"])).children("")) == {"d"}
    assert set(result(local(followpaths=["a.txt"])).children("")) == {"a.txt"}


def test_an_unknown_name_is_an_error_that_lists_the_known(local) -> None:
    with pytest.raises(SourceError, match="'other'") as caught:
        result(local("other"))
    assert "context" in caught.value.help


def test_malformed_filters_are_errors(local, world, tmp_path) -> None:
    with pytest.raises(SourceError, match="list of strings"):
        result(local(includepattern={"a": 1}))


def test_a_tree_becomes_a_snapshot_when_a_real_directory_is_needed(local, world) -> None:
    tree = result(local(excludepatterns=["*.log"]))
    snapshot = world.pools.run_sync("disk", lambda token: tree.materialize())
    assert {path: node[0] for path, node in world.look(snapshot).items()} == {
        "a.txt": "file", "d": "dir", "d/c": "file",
    }  # fmt: skip

    def mounted(token: object) -> bytes:
        with tree.mountable() as path:
            return (path / "d/c").read_bytes()

    assert world.pools.run_sync("disk", mounted) == b"c"
    assert tree.materialize() == snapshot


@pytest.mark.parametrize("text", ["", "u", "u=q", "8", "u=rw go=r", "12345"])
def test_malformed_modes_are_errors(text) -> None:
    with pytest.raises(FileOpError, match="bad file mode"):
        parse_mode(text)
