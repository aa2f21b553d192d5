# SPDX-License-Identifier: Apache-2.0
"""Writes the API reference: ``make docs``, or ``python docs/api.py FOLDER``.

Only what others may build on is in it. Packages load their names when they are used, which no documentation tool
sees; so they are loaded first.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

PUBLIC = (
    *(
        "llbkit.grammar",
        "llbkit.llb",
        "llbkit.llb.ir.ops",
        "llbkit.llb.builder.files",
        "llbkit.llb.ir.graph",
        "llbkit.llb.ir.walk",
        "llbkit.llb.tools.compare",
        "llbkit.llb.draw",
        "llbkit.llb.tools.stats",
        "llbkit.llb.text",
        "llbkit.llb.ir.verify",
        "llbkit.llb.ir.platform",
    ),
    *(
        "llbkit.llb.wire",
        "llbkit.frontends.base",
        "llbkit.frontends.registry",
        "llbkit.solver",
        "llbkit.solver.ports",
        "llbkit.solver.passes",
    ),
    *("llbkit", "llbkit.engine.embedded", "llbkit.errors", "llbkit.request.values", "llbkit.engine.solution"),
)


def write(folder: Path) -> None:
    """Write a page for each public module, with an index and a search."""
    for name in PUBLIC:
        module = import_module(name)
        for item in getattr(module, "__all__", ()):
            vars(module).setdefault(item, getattr(module, item))
    warnings.simplefilter("ignore")  # about types that only a type checker imports
    warnings.filterwarnings("error", message=".*does not resolve|.*already been added")
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*PUBLIC, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
