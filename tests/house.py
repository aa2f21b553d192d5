# SPDX-License-Identifier: Apache-2.0
"""A report of the house's rules that no tool checks, and of sizes: ``make report``.

- A public class should have a name of its own in the whole project: one word for each thing.
- A facade (``__init__``) that exports names should say so in ``__all__`` (ruff sorts it).

Layers, circles and forbidden imports are contracts in ``.importlinter``. Sizes are only reported: a file past `LINES` lines or a
folder with more than `FILES` loose files is a place to look at, not an error.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("conformance", "frontends", "grammar", "llb", "llbkit", "solver", "worker")
LINES = 400
FILES = 12


def modules() -> Iterator[Path]:
    """Yield every module of the packages, generated ones left out. Links in ``llbkit`` are not followed."""
    for package in PACKAGES:
        yield from sorted(path for path in (ROOT / package).rglob("*.py") if not path.stem.endswith("_pb2"))


def public_classes(paths: Sequence[Path]) -> Mapping[str, Sequence[Path]]:
    """Return the modules that define each public class."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path)
    return found


def undeclared_exports(path: Path) -> bool:
    """Say whether a facade imports public names and has no ``__all__``."""
    body = ast.parse(path.read_bytes()).body
    imports = any(isinstance(node, ast.ImportFrom) and node.module != "__future__" for node in body)
    return imports and not any(
        isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        for node in body
    )


def problems() -> Iterator[str]:
    """Yield what breaks a rule, a line each."""
    paths = list(modules())
    for name, places in sorted(public_classes(paths).items()):
        if len(places) > 1:
            yield f"{name}: defined {len(places)} times: {', '.join(map(_shown, places))}"
    for path in paths:
        if path.name == "__init__.py" and undeclared_exports(path):
            yield f"{_shown(path)}: imports names without an __all__"


def sizes() -> Iterator[str]:
    """Yield files and folders past the usual size, a line each."""
    folders: dict[Path, int] = defaultdict(int)
    for path in modules():
        folders[path.parent] += path.name != "__init__.py"
        if (lines := path.read_bytes().count(b"\n")) > LINES:
            yield f"{_shown(path)}: {lines} lines"
    for folder, count in sorted(folders.items()):
        if count > FILES:
            yield f"{_shown(folder)}/: {count} files"


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    for line in sizes():
        print(f"note: {line}")
    found = list(problems())
    for line in found:
        print(f"error: {line}")
    sys.exit(1 if found else 0)
