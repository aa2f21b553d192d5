# SPDX-License-Identifier: Apache-2.0
"""A field is declared in one line: with it, wire, JSON, text, reader and comparison know the field."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEW = '    new_{}: Annotated[str, Wire(200)] = ""\n'  # names differ: an exec and its meta share their options
PROGRAM = """
import json, sys
from llbkit.llb import text
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.tools.compare import compare
from llbkit.llb.wire import decode, encode, jsonform

BELOW = Vertex.make(ops.Source(identifier="local://below"))

def graph(kind, value):
    new = {f"new_{kind.lower()}": value}
    def of(one, **given):
        return one(**given, **(new if one.__name__ == kind else {}))
    mount = of(ops.Mount, dest="/", input=0, cache=None)
    cache = of(ops.Mount, dest="/c", input=-1, mount_type=ops.MountType.CACHE, cache=of(ops.CacheOpt, id="c"))
    meta = of(ops.Meta, args=("true",), cwd="/", extra_hosts=(ops.HostIP(host="a", ip="1.1.1.1"),))
    copy = of(ops.Copy, src="/a", dest="/b")
    step = of(ops.FileAction, action=copy, input=-1, secondary_input=0)
    made = {
        "Source": lambda: of(ops.Source, identifier="local://x"),
        "File": lambda: of(ops.File, actions=(step,)),
        "Merge": lambda: of(ops.Merge, inputs=(0,)),
        "Diff": lambda: of(ops.Diff, lower=-1, upper=0),
        "Build": lambda: of(ops.Build, builder=0),
        "Passthrough": lambda: of(ops.Passthrough, id="p", outputs=(0,)),
    }
    made["Copy"] = made["FileAction"] = made["File"]
    op = made.get(kind, lambda: of(ops.Exec, meta=meta, mounts=(mount, cache)))()
    top = Vertex.make(op, () if kind == "Source" else (Edge(BELOW),))
    return Graph(vertices=(BELOW, top) if kind != "Source" else (top,), head=Edge(top))

out = {}
for kind in sys.argv[1:]:
    old, new = graph(kind, ""), graph(kind, "shiny")
    said, name = text.render(new), f"new_{kind.lower()}"
    out[kind] = {
        "wire": decode(encode(new)).vertices[-1].op == new.vertices[-1].op,
        "bytes": encode(old) != encode(new),
        "json": name in jsonform.render(new) and encode(jsonform.read(jsonform.render(new))) == encode(new),
        "printer": f"{name}=shiny" in said and "raw" not in said,
        "reader": encode(text.read(said)) == encode(new),
        "diff": name in compare(old, new).text() and "shiny" in compare(old, new).text(),
    }
print(json.dumps(out))
"""
KINDS = (
    "Exec",
    "Meta",
    "Mount",
    "CacheOpt",
    "Source",
    "File",
    "FileAction",
    "Copy",
    "Merge",
    "Diff",
    "Build",
    "Passthrough",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bool]]:
    """What a copy of the IR, with one line more in each of these classes, knows of the new field."""
    top = tmp_path_factory.mktemp("copy")
    package = top / "llbkit"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "llbkit" / "records.py", package)
    for name in ("llb", "grammar"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / "llb" / "ir" / "ops.py"
    lines = path.read_text().splitlines(keepends=True)
    for kind in KINDS:
        begin = next(number for number, line in enumerate(lines) if line == f"class {kind}:\n")
        field = next(n for n in range(begin, len(lines)) if ": Annotated[" in lines[n])
        lines.insert(field, NEW.format(kind.lower()))
    path.write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *KINDS],
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(top)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out: dict[str, dict[str, bool]] = json.loads(done.stdout)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_in_an_op_class_is_enough(kind: str, found: dict[str, dict[str, bool]]) -> None:
    assert found[kind] == dict.fromkeys(("wire", "bytes", "json", "printer", "reader", "diff"), True)
