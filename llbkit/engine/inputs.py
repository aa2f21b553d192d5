# SPDX-License-Identifier: Apache-2.0
"""Inputs fetched before the frontend runs: remote files, and contexts that are other targets.

A named context ``target:STAGE`` is another stage of the same program, built with the same options. It reaches the
frontend as buildx hands on linked targets: as an input, with the image config in the input's metadata, for one
platform or for each.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from llbkit.engine.bridge import EngineBridge
from llbkit.frontends.base import PlatformResult, SolveRequest, solve_state
from llbkit.llb import State, from_graph, http, scratch
from llbkit.request.csvflags import FlagError

_TARGET = "target:"
_CONTEXT = "context:"


async def download(bridge: EngineBridge, files: Mapping[Path, str]) -> None:
    """Write files from HTTP addresses.

    Raises:
        VertexError: one cannot be fetched.
    """
    for path, address in files.items():
        state = http(address, filename=path.name, name=f"[internal] load remote {path.name}")
        path.write_bytes(await (await solve_state(bridge, state)).read_file(path.name))


async def with_targets(bridge: EngineBridge, frontend: str) -> EngineBridge:
    """Return a bridge on which every context that is another target is an input.

    Raises:
        FlagError: a target has no name.
        grammar.DiagnosticError: the program is wrong, or has no such stage.
    """
    for key, value in bridge.options.items():
        if key.startswith(_CONTEXT) and value.startswith(_TARGET):
            name, target = key.removeprefix(_CONTEXT), value.removeprefix(_TARGET)
            if not target:
                raise FlagError(
                    f"--build-context {name}: {_TARGET} without a target", help="write target:STAGE"
                )
            bridge = await _linked(bridge, frontend, name, target)
    return bridge


async def _linked(bridge: EngineBridge, frontend: str, name: str, target: str) -> EngineBridge:
    key = _CONTEXT + name
    outer = {k: v for k, v in bridge.options.items() if k != key and not k.startswith("label:")}
    own = replace(bridge, options={**outer, "target": target})
    own = await with_targets(own, frontend)
    result = await own.solve(SolveRequest(frontend=frontend, options=own.options, inputs=own.frontend_inputs))
    options = {k: v for k, v in bridge.options.items() if k != key}
    inputs = dict(bridge.frontend_inputs)
    for one in result.results:
        label = f"{name}::{one.id}" if result.multi else name
        inputs[label] = _state(one)
        options[_CONTEXT + label] = f"input:{label}"
        if one.config is not None:
            config = base64.b64encode(one.config).decode()
            options[f"input-metadata:{label}"] = json.dumps({"containerimage.config": config})
    return replace(bridge, options=options, frontend_inputs=inputs)


def _state(one: PlatformResult) -> State:
    return from_graph(one.ref.definition()) if one.ref is not None else scratch()
