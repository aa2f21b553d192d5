# SPDX-License-Identifier: Apache-2.0
"""Passthrough: return some inputs unchanged, once all of them are solved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from llbkit.llb.ir.ops import Passthrough
from llbkit.solver.ports import CacheMap, ContentKey, InputKey, Step
from llbkit.worker.results import Filesystem


class PassthroughOperation:
    """A `llbkit.worker.results.FilesystemOperation` that returns inputs. ``inputs`` is how many the vertex has."""

    def __init__(self, op: Passthrough, inputs: int) -> None:
        self._op = op
        self._inputs = inputs

    @property
    def resources(self) -> Mapping[str, int]:
        """Nothing is needed."""
        return {}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return the op's own key."""
        text = f"llbkit.passthrough.1\n{self._op.id}\n{self._op.outputs}"
        return CacheMap(
            digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
            inputs=tuple(InputKey() for _ in range(self._inputs)),
            ingredients={"kind": "passthrough", "id": self._op.id},
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Inputs count by definition only."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Return the inputs that the op names."""
        return [inputs[index] for index in self._op.outputs]
