# SPDX-License-Identifier: Apache-2.0
"""Make a `BuildRequest` from a program's arguments: ``Engine.build(".", tags=["app:1"], args={"VERSION": "2"})``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from llbkit.llb.address.reference import parse
from llbkit.llb.builder.arguments import expect, expect_all
from llbkit.request import context as contexts
from llbkit.request.values import BuildRequest, Output, Secret


class BuildArguments(TypedDict, total=False):
    """What a build from Python may be given; names and meaning are those of ``llbkit build``.

    ``file`` is the Dockerfile, ``args`` the build arguments, ``tags`` names of the image, ``contexts`` named contexts,
    ``outputs`` `Output` or their text (default: the image goes to the local store), ``secrets`` for each id its value as
    bytes, a path, or ``("env", variable)``, ``ssh`` for each id agent sockets or key files, ``allow`` entitlements,
    ``options`` any other frontend attribute.
    """

    file: str | os.PathLike[str] | None
    frontend: str
    target: str
    args: Mapping[str, str]
    labels: Mapping[str, str]
    platforms: Sequence[str]
    contexts: Mapping[str, str | os.PathLike[str]]
    tags: Sequence[str]
    outputs: Sequence[Output | str]
    secrets: Mapping[str, bytes | str | os.PathLike[str] | tuple[str, str]]
    ssh: Mapping[str, Sequence[str]]
    allow: frozenset[str] | Sequence[str]
    no_cache: bool
    pull: bool
    options: Mapping[str, str]


def request_of(where: str | os.PathLike[str], scratch: Path, **given: Unpack[BuildArguments]) -> BuildRequest:
    """Return the request of a build of the context ``where``; ``scratch`` is an empty directory for what is downloaded.

    Raises:
        TypeError: an argument is unknown or has the wrong type.
        FlagError: a path does not exist, or values do not go together.
    """
    if unknown := sorted(set(given) - set(BuildArguments.__annotations__)):
        raise TypeError(f"build() got an unexpected keyword argument {unknown[0]!r}")
    for name in ("args", "labels", "contexts", "secrets", "ssh", "options"):
        expect("build", name, given.get(name, {}), Mapping)
    named = {name: os.fspath(value) for name, value in given.get("contexts", {}).items()}
    file = given.get("file")
    found = contexts.resolve(
        os.fspath(where),
        os.fspath(file) if file is not None else None,
        named,
        stdin=io.BytesIO(),
        scratch=scratch,
    )
    tags = given.get("tags", ())
    expect_all("build", "tags", tags, str)
    return BuildRequest(
        frontend=given.get("frontend", "dockerfile.v0"),
        options={**found.options, **_options(given)},
        locals=found.locals,
        oci_stores=found.oci_stores,
        inputs=found.inputs,
        downloads=found.downloads,
        secrets=secrets_of("build", given.get("secrets", {})),
        ssh=given.get("ssh", {}),
        allow=entitlements_of("build", given.get("allow", ())),
        outputs=outputs_of("build", given.get("outputs", ())) or (Output(type="image"),),
        names=tuple(str(parse(tag).with_default_tag()) for tag in tags),
    )


def _options(given: BuildArguments) -> dict[str, str]:
    out = {f"build-arg:{key}": value for key, value in given.get("args", {}).items()}
    out |= {f"label:{key}": value for key, value in given.get("labels", {}).items()}
    if target := given.get("target", ""):
        out["target"] = target
    platforms = given.get("platforms", ())
    expect_all("build", "platforms", platforms, str)
    if platforms:
        out["platform"] = ",".join(platforms)
    if given.get("no_cache", False):
        out["no-cache"] = ""
    if given.get("pull", False):
        out["image-resolve-mode"] = "pull"
    out |= given.get("options", {})
    for key, value in out.items():
        expect("build", key, value, str)
    return out


def outputs_of(function: str, outputs: Sequence[Output | str]) -> tuple[Output, ...]:
    """Read outputs given as values or texts.

    Raises:
        TypeError: not a sequence of these.
        FlagError: a text makes no sense.
    """
    expect_all(function, "outputs", outputs, Output, str)
    return tuple(Output.parse(one) if isinstance(one, str) else one for one in outputs)


def entitlements_of(function: str, allow: frozenset[str] | Sequence[str]) -> frozenset[str]:
    """Read entitlements.

    Raises:
        TypeError: not a sequence or set of texts.
    """
    if not isinstance(allow, set | frozenset):
        expect_all(function, "allow", allow, str)
    return frozenset(allow)


def secrets_of(
    function: str, secrets: Mapping[str, bytes | str | os.PathLike[str] | tuple[str, str]]
) -> dict[str, Secret]:
    """Read secrets: values as bytes, paths, or ``("env", variable)`` and ``("file", path)``.

    Raises:
        TypeError: one is something else.
    """
    out: dict[str, Secret] = {}
    for name, value in secrets.items():
        match value:
            case bytes() | ("env" | "file", str()):
                out[name] = value
            case str() | os.PathLike():
                out[name] = ("file", os.path.abspath(os.fspath(value)))
            case _:
                raise TypeError(
                    f"{function}() argument 'secrets': {name!r} must be bytes, a path or ('env', NAME), "
                    f"not {type(value).__name__}"
                )
    return out
