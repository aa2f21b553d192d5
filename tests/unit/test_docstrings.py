# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings and documents do what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

from llbkit import llb
from llbkit.llb.builder import files, state

ROOT = Path(__file__).parents[2]


def _modules_with_examples() -> list[str]:
    # rglob follows no links, so the links in llbkit are named.
    folders = [ROOT / "llbkit", *(path for path in (ROOT / "llbkit").iterdir() if path.is_dir())]
    paths = sorted({path for folder in folders for path in folder.rglob("*.py")})
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
        if ">>> " in path.read_text()
    ]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_of_modules(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted
    assert not done.failed


@pytest.mark.parametrize(
    "path", sorted(p.name for p in (ROOT / "docs").glob("*.md") if ">>> " in p.read_text())
)
def test_examples_of_documents(path: str) -> None:
    assert not doctest.testfile(str(ROOT / "docs" / path), module_relative=False).failed


def _public(holder: object) -> list[object]:
    return [
        value.fget if isinstance(value, property) else value
        for name, value in vars(holder).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]


def test_every_builder_function_has_an_example() -> None:
    functions = [getattr(llb, name) for name in llb.__all__]
    wanted = [
        *(item for item in functions if inspect.isfunction(item)),
        *_public(state.State),
        *(getattr(files, name) for name in ("copy", "mkdir", "mkfile", "rm", "symlink")),
        *(item for item in _public(state.ExecState)),
    ]
    assert [item.__qualname__ for item in wanted if ">>> " not in (item.__doc__ or "")] == []
