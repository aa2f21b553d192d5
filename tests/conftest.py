# SPDX-License-Identifier: Apache-2.0
"""Shared test set-up: `support` is importable, and root tests are skipped, loudly, without root."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow machine fails no test.
settings.register_profile("llbkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llbkit")

sys.path.insert(0, str(Path(__file__).parent))


class _OneName:
    """Fails imports of the folders beside `llbkit` by another name than the installed one: they would be loaded twice."""

    FOLDERS = frozenset({"conformance", "frontends", "grammar", "llb", "solver", "worker"})

    @classmethod
    def find_spec(cls, name: str, *_: object) -> None:
        if name in cls.FOLDERS:
            raise ImportError(f"import llbkit.{name}, not {name}")


sys.meta_path.insert(0, _OneName)  # type: ignore[arg-type]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape the bytes that are no UTF-8 in what a failing test shows: workers could not send them."""
    report = yield
    if report.failed:
        report.longrepr = _sendable(str(report.longrepr))
        report.sections = [(_sendable(title), _sendable(text)) for title, text in report.sections]
    return report


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Let pytest, which recurses, remove the deep trees that tests of depth leave in its folders."""
    sys.setrecursionlimit(20_000)
