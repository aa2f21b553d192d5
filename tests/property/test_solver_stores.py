# SPDX-License-Identifier: Apache-2.0
"""Any sequence of calls has the same answers from both stores."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.ports import Link, Record

IDS = st.sampled_from(["r1", "r2", "r3", "r4"])
OPS = st.sampled_from(["op1", "op2"])
KEYS = st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=3)
LINKS = st.lists(
    st.builds(
        Link, OPS, st.integers(-1, 2), st.sampled_from(["", "/s"]), st.sampled_from(["", "a", "b", "c"])
    ),
    max_size=6,
)
TIMES = st.integers(0, 5).map(float)


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()
        self.sqlite = SQLiteStore(Path(self.folder.name) / "c.db")

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    @rule(id_=IDS, digest=OPS, name=st.sampled_from(["n1", "n2"]), created=TIMES, duration=TIMES, links=LINKS)
    def store(
        self, id_: str, digest: str, name: str, created: float, duration: float, links: list[Link]
    ) -> None:
        record = Record(
            id=id_, digest=digest, tokens=(id_,), name=name, ingredients={}, created_at=created,
            last_used_at=created, duration=duration,
        )  # fmt: skip
        self.memory.store(record, links)
        self.sqlite.store(record, links)

    @rule(id_=IDS, links=LINKS)
    def link(self, id_: str, links: list[Link]) -> None:
        self.memory.link(id_, links)
        self.sqlite.link(id_, links)

    @rule(ids=st.lists(IDS, max_size=3), now=TIMES)
    def touch(self, ids: list[str], now: float) -> None:
        self.memory.touch(ids, now)
        self.sqlite.touch(ids, now)

    @rule(ids=st.lists(IDS, max_size=2))
    def delete(self, ids: list[str]) -> None:
        self.memory.delete(ids)
        self.sqlite.delete(ids)

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = SQLiteStore(Path(self.folder.name) / "c.db")

    @rule(digest=OPS, inputs=st.lists(st.tuples(st.sampled_from(["", "/s"]), KEYS), max_size=3))
    def find(self, digest: str, inputs: list[tuple[str, frozenset[str]]]) -> None:
        links = [
            Link(digest, i, selector, key)
            for i, (selector, keys) in enumerate(inputs)
            for key in sorted(keys)
        ]
        answers = self.memory.linked(links)
        assert self.sqlite.linked(links) == answers
        ids = sorted(frozenset().union(*answers))
        found = self.memory.select(ids)
        assert self.sqlite.select(ids) == found
        assert [record.id for record in found] == sorted(ids, key=[record.id for record in found].index)

    @rule(digest=OPS, name=st.sampled_from(["n1", "n2", "n3"]))
    def nearest(self, digest: str, name: str) -> None:
        assert self.sqlite.nearest(digest, name) == self.memory.nearest(digest, name)

    @invariant()
    def same_records(self) -> None:
        assert self.sqlite.records() == self.memory.records()


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
