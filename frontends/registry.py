# SPDX-License-Identifier: Apache-2.0
"""Names to frontends. Each is imported on first use."""

from __future__ import annotations

from importlib import import_module

from llbkit.frontends.base import Frontend, NoFrontendError
from llbkit.grammar import Diagnostic, nearest

GROUP = "llbkit.frontends"
BUILTIN = {"dockerfile.v0": ("llbkit.frontends.dockerfile.frontend", "DockerfileFrontend")}


def load(name: str) -> Frontend:
    """Return the frontend that ``--frontend`` or ``#syntax=`` names.

    ``docker/dockerfile`` in any version is the built-in one, with its labs features if the tag says so. Others are
    entry points of the group `GROUP`.

    Raises:
        NoFrontendError: there is none of that name.
    """
    if _is_dockerfile(name):
        from llbkit.frontends.dockerfile.frontend import DockerfileFrontend

        return DockerfileFrontend(labs=_is_labs(name))
    if name in BUILTIN:
        module, attribute = BUILTIN[name]
        made: Frontend = getattr(import_module(module), attribute)()
        return made
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        found: Frontend = point.load()()
        return found
    known = sorted([*BUILTIN, *(point.name for point in entry_points(group=GROUP))])
    close = nearest(name, known)
    hint = (
        f"did you mean {close}?"
        if close
        else f"installed frontends: {', '.join(known)} (entry points of {GROUP})"
    )
    raise NoFrontendError(
        name, Diagnostic(code="no-frontend", message=f"unknown frontend {name!r}", help=hint)
    )


def _is_dockerfile(name: str) -> bool:
    bare = name.removeprefix("docker.io/").partition("@")[0].partition(":")[0]
    return bare in ("docker/dockerfile", "docker/dockerfile-upstream")


def _is_labs(name: str) -> bool:
    tag = name.partition("@")[0].partition(":")[2]
    return tag == "labs" or tag.endswith("-labs")
