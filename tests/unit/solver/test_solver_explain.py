# SPDX-License-Identifier: Apache-2.0
"""Why something was executed, in words."""

from __future__ import annotations

import pytest
from support.solving import build, ignoring

from llbkit.solver.cache.memory import MemoryStore
from llbkit.solver.cache.sqlite import SQLiteStore
from llbkit.solver.explain import Difference, Miss, differences, explain
from llbkit.solver.fake import number, total
from llbkit.solver.ports import Record


def made(op: object = None, *inputs: object) -> dict[str, object]:
    return {"op": op if op is not None else {}, "inputs": list(inputs)}


def texts(before: dict, after: dict) -> list[str]:
    return [str(difference) for difference in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"args": ["make"]}, {"args": ["make"]}, []),
        ({"args": ("make", "a")}, {"args": ["make", "a"]}, []),
        ({"args": ["make", "a"]}, {"args": ["make", "b"]}, ['argument[1] changed from "a" to "b"']),
        ({"args": ["make"]}, {"args": ["make", "-j"]}, ['argument changed from ["make"] to ["make", "-j"]']),
        ({"env": ["A=1", "B=2"]}, {"env": ["B=3", "A=1"]}, ['env B changed from "2" to "3"']),
        ({"env": ["A=1"]}, {"env": ["A=1", "B="]}, ['env B is new: ""']),
        ({"env": ["A=1"]}, {"env": []}, ['env A was removed: "1"']),
        ({"env": ["A=1"]}, {}, ['env was removed: ["A=1"]']),
        ({"mounts": [{"id": "x"}]}, {"mounts": [{"id": "y"}]}, ['mount[0] id changed from "x" to "y"']),
        ({"kind": "exec"}, {"kind": "file"}, ['kind changed from "exec" to "file"']),
        ({"cwd": "a" * 100}, {"cwd": "b"}, [f'cwd changed from "{"a" * 78}… to "b"']),
    ],
)
def test_differences_of_ops(before, after, expected) -> None:
    assert texts(made(before), made(after)) == expected


def test_inputs_differ_by_content_file_by_file() -> None:
    old = {
        "name": "COPY",
        "keys": ["k1"],
        "content": "c1",
        "parts": {"files": {"/a": "1", "/b": "2", "/c": "3"}},
    }
    new = {
        "name": "COPY",
        "keys": ["k2"],
        "content": "c2",
        "parts": {"files": {"/a": "1", "/b": "5", "/d": "4"}},
    }
    assert texts(made(None, old), made(None, new)) == [
        'input 0 (COPY), file /b changed from "2" to "5"',
        'input 0 (COPY), file /c was removed: "3"',
        'input 0 (COPY), file /d is new: "4"',
    ]
    assert texts(made(None, old), made(None, {**new, "content": "c1"})) == []
    bare_old, bare_new = ({k: v for k, v in entry.items() if k != "parts"} for entry in (old, new))
    assert texts(made(None, bare_old), made(None, bare_new)) == [
        'input 0 (COPY), content changed from "c1" to "c2"'
    ]


def test_inputs_differ_by_their_keys() -> None:
    one = {"name": "RUN make", "keys": ["k1", "k2"]}
    assert texts(made(None, one), made(None, {"name": "RUN make", "keys": ["k2", "k3"]})) == []
    assert texts(made(None, one), made(None, {"name": "RUN make", "keys": ["k3"]})) == [
        "input 0 (RUN make) changed from one result to another"
    ]
    assert texts(made(None, one), made(None, {"name": "RUN cc", "keys": ["k3"]})) == [
        'input 0 (RUN cc) changed from "RUN make" to "RUN cc"'
    ]
    assert texts(made(None, one), made(None, {**one, "selector": "/x"})) == [
        'input 0 (RUN make), path changed from "" to "/x"'
    ]
    assert texts(made(None, one), made(None, one, one)) == ["input 1 (RUN make) is new: absent"]
    assert texts(made(None, one, one), made(None, one)) == ["input 1 (RUN make) was removed: present"]


def test_ingredients_of_another_shape_are_no_error() -> None:
    assert differences({}, {"inputs": "what"}) == ()
    assert differences({"op": 1}, {"op": [1]}) == (Difference("the op", "1", "[1]"),)


def test_the_nearest_record_is_the_one_that_differs_least() -> None:
    store = MemoryStore()
    for id_, args in (("far", ["x", "y", "z"]), ("near", ["make", "b", "c"])):
        store.store(
            Record(
                id=id_, digest=id_, tokens=(), name="step", ingredients=made({"args": args}),
                created_at={"far": 2.0, "near": 1.0}[id_], last_used_at=0.0,
            ),
            [],
        )  # fmt: skip
    miss = Miss(
        digest="d", name="step", key="k", ingredients=made({"args": ["make", "a", "c"]}), record_id="own"
    )
    told = explain(miss, store)
    assert told.nearest is not None
    assert told.nearest.id == "near"
    assert told.reason == 'argument[1] changed from "b" to "a"'


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_builds_explain_themselves(kind, tmp_path) -> None:
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "c.db")
    directory = frozenset({"dir"})

    def head(value: int, salt: str = ""):
        return total("run", total("copy", number("dir", value), content=[0]), salt=salt)

    first = build(head(1), store, volatile=directory).explanations
    assert {one.reason for one in first.values()} == {"no similar step was executed before"}
    changed = build(head(2), store, volatile=directory).explanations
    assert changed["copy"].reason == 'input 0 (int://dir?value=2&), file /value changed from "1" to "2"'
    assert changed["run"].reason == "input 0 (sum copy ) changed from one result to another"
    vertex = head(2)
    renewed = build(vertex, store, volatile=directory, metadata=ignoring(vertex)).explanations
    assert renewed["run"].reason == "the cache was ignored"
    run_record = next(r for r in store.records() if r.name.startswith("sum run"))
    lost = build(head(2), store, volatile=directory, lost={run_record.tokens[0]}).explanations
    assert lost["run"].reason == "its result is no longer stored"
    assert build(head(2), store, volatile=directory).explanations == {}
    store.close()
