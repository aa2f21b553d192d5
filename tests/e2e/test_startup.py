# SPDX-License-Identifier: Apache-2.0
"""What a process of ours loads. Times are not asked, but what costs time is: modules, expressions, subprocesses."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli

_COUNTED = """
import json, re, sys
import re._compiler

compiled = []
compile = re._compiler.compile
re._compiler.compile = lambda pattern, flags=0: (compiled.append(str(pattern)), compile(pattern, flags))[1]
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event in ("subprocess.Popen", "os.exec") else None)
from llbkit.cli.main import run
code = run(sys.argv[1:])
seen = {"code": code, "modules": sorted(sys.modules), "expressions": compiled, "events": events}
print(json.dumps(seen), file=sys.stderr)
"""

_HEAVY = {
    # another network, another format, another output
    "email", "html", "http", "importlib.metadata", "isal", "jsonschema", "multiprocessing", "rich", "tarfile", "unittest",
    "urllib.request", "urllib3", "xml", "zipfile", "zstandard",
    # what only runs, pulls, writes or explains something needs
    "llbkit.conformance", "llbkit.worker.archive", "llbkit.worker.exporters", "llbkit.worker.runtime",
    "llbkit.worker.registry.client", "llbkit.worker.sources.git", "llbkit.worker.sources.http",
    "llbkit.worker.state.gc", "llbkit.llb.draw", "llbkit.llb.text", "llbkit.llb.wire.decoding", "llbkit.llb.wire.jsonform",
}  # fmt: skip


def _seen(cli: Cli, *args: object) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _COUNTED, "--root", str(cli.root), *map(str, args)],
        env=cli.env(),
        capture_output=True,
        check=True,
    )
    seen: dict[str, list[str]] = json.loads(done.stderr.splitlines()[-1])
    assert seen["code"] == 0, done.stderr.decode()
    return seen


def _loaded(modules: list[str], heavy: set[str]) -> set[str]:
    return {name for name in modules if any(name == one or name.startswith(one + ".") for one in heavy)}


@pytest.mark.root
def test_a_cached_build_loads_no_more_than_it_needs(cli: Cli, project: Callable[[str], Path]) -> None:
    folder = project("RUN echo 1 > /f1\n")
    cli.build(folder, "-o", "type=cacheonly")
    seen = _seen(cli, "build", "--progress=plain", "-o", "type=cacheonly", folder)
    assert _loaded(seen["modules"], _HEAVY) == set()
    assert seen["events"] == []
    assert len(seen["modules"]) < 580
    assert len([name for name in seen["modules"] if name.startswith("llbkit")]) < 315
    assert len(seen["expressions"]) < 140


def test_the_version_loads_nothing() -> None:
    script = "import sys; sys.argv = ['llbkit', '--version']; from llbkit.__main__ import main; main(); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    modules = set(ast.literal_eval(done.stderr))
    assert _loaded(sorted(modules), {"click", "asyncio", "dataclasses", "inspect", "json"}) == set()
    assert {name for name in modules if name.startswith("llbkit")} == {"llbkit", "llbkit.__main__"}
