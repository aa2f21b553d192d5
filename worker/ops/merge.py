# SPDX-License-Identifier: Apache-2.0
"""The operation of merge ops: stacks of layers on top of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from llbkit.llb.ir.graph import Vertex
from llbkit.llb.ir.ops import Merge
from llbkit.solver.ports import CacheMap, ContentKey, InputKey, Step
from llbkit.worker.base import Snapshot
from llbkit.worker.fs.contenthash import ContentHasher
from llbkit.worker.host.pools import Pools
from llbkit.worker.ops.file.op import is_local, key_of_local
from llbkit.worker.results import Filesystem, as_snapshot


def stacked(stacks: Iterable[Snapshot]) -> Snapshot:
    """Lay stacks over each other, the first at the bottom. Costs nothing: no file is touched.

    A layer that occurs more than once stays in each of its places: images have it there, and histories count it.
    """
    return Snapshot(tuple(layer for snapshot in stacks for layer in snapshot.layers))


class MergeOperation:
    """Lays the inputs over each other, without unpacking them.

    Args:
        vertex: the vertex whose op it is.
        hasher: computes content keys of local directories.
        pools: runs blocking work.
    """

    def __init__(self, vertex: Vertex, *, hasher: ContentHasher, pools: Pools) -> None:
        assert isinstance(vertex.op, Merge), "made for merge ops"
        self._vertex, self._op = vertex, vertex.op
        self._hasher, self._pools = hasher, pools

    @property
    def resources(self) -> Mapping[str, int]:
        """None: it is arithmetic."""
        return {}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of the order of the inputs."""
        order = ",".join(map(str, self._op.inputs))
        return CacheMap(
            digest="sha256:" + hashlib.sha256(f"llbkit.merge.1\n{order}".encode()).hexdigest(),
            inputs=tuple(
                InputKey(content=is_local(self._vertex, index)) for index in range(len(self._vertex.inputs))
            ),
            ingredients={"kind": "merge", "inputs": list(self._op.inputs)},
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Return the digest of a local directory; None for others."""
        return await key_of_local(value, self._hasher, self._pools)

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Concatenate the stacks."""
        return [
            await self._pools.run(
                "disk",
                lambda token: stacked(as_snapshot(inputs[i]) for i in self._op.inputs if i >= 0),
            )
        ]
