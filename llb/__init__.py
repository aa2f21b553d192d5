# SPDX-License-Identifier: Apache-2.0
"""The IR: ops, graph, builder, wire format. Names are loaded when they are used.

>>> from llbkit.llb import image, cache
>>> step = image("docker.io/library/python:3.12").dir("/app").run("pip list", mounts=[cache("/root/.cache")])
>>> len(step.root.graph(platform="linux/amd64"))
2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llbkit.llb.builder.blobs import image_blob, oci_layout_blob
    from llbkit.llb.builder.mounts import bind, cache, secret, secret_env, ssh, tmpfs
    from llbkit.llb.builder.sources import git, http, image, local, oci_layout
    from llbkit.llb.builder.stacks import build, diff, merge, passthrough, requires
    from llbkit.llb.builder.state import State, from_graph, scratch, sh
    from llbkit.llb.errors import DefinitionError, LLBError, StateError
    from llbkit.llb.ir.graph import Edge, Graph, Metadata, Vertex
    from llbkit.llb.ir.ops import Op, Platform

__all__ = [
    "DefinitionError",
    "Edge",
    "Graph",
    "LLBError",
    "Metadata",
    "Op",
    "Platform",
    "State",
    "StateError",
    "Vertex",
    "bind",
    "build",
    "cache",
    "diff",
    "from_graph",
    "git",
    "http",
    "image",
    "image_blob",
    "local",
    "merge",
    "oci_layout",
    "oci_layout_blob",
    "passthrough",
    "requires",
    "scratch",
    "secret",
    "secret_env",
    "sh",
    "ssh",
    "tmpfs",
]

_HOMES = {
    "llbkit.llb.builder.blobs": ("image_blob", "oci_layout_blob"),
    "llbkit.llb.errors": ("DefinitionError", "LLBError", "StateError"),
    "llbkit.llb.ir.graph": ("Edge", "Graph", "Metadata", "Vertex"),
    "llbkit.llb.builder.mounts": ("bind", "cache", "secret", "secret_env", "ssh", "tmpfs"),
    "llbkit.llb.ir.ops": ("Op", "Platform"),
    "llbkit.llb.builder.sources": ("git", "http", "image", "local", "oci_layout"),
    "llbkit.llb.builder.stacks": ("build", "diff", "merge", "passthrough", "requires"),
    "llbkit.llb.builder.state": ("State", "from_graph", "scratch", "sh"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
