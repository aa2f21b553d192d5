# SPDX-License-Identifier: Apache-2.0
"""Failures as users read them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from llbkit.cli.failure import explain


def test_a_full_disk_under_a_database_is_told_as_such() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count = 2")
        try:
            for _ in range(100):
                db.execute("INSERT INTO t VALUES (zeroblob(4096))")
        except sqlite3.Error as error:
            text, code = explain(error)
    assert code == 3
    assert "llbkit prune" in text
    assert "bug" not in text


def test_a_wrong_statement_is_a_bug() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute("NONSENSE")
        except sqlite3.Error as error:
            text, code = explain(error)
    assert code == 1
    assert "bug in llbkit" in text
