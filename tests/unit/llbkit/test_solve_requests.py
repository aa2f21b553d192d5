"""The boundary between frontends and the engine: solve requests, and what is read through their refs."""

from __future__ import annotations

import asyncio

import pytest

from llbkit import Engine, llb
from llbkit.engine.bridge import EngineBridge
from llbkit.frontends.base import NoFrontendError, SolveRequest, solve_state
from llbkit.request.values import BuildRequest
from llbkit.solver.events import discard

HELLO = llb.scratch().mkfile("/hello", "hello")


def on_bridge(tmp_path, ask):
    async def main():
        with Engine(root=tmp_path) as engine:
            async with engine._bridge(BuildRequest(), discard) as bridge:
                return await ask(bridge)

    return asyncio.run(main())


@pytest.mark.parametrize("given", [{}, {"definition": HELLO, "frontend": "dockerfile.v0"}])
def test_a_request_has_either_a_definition_or_a_frontend(given) -> None:
    with pytest.raises(ValueError, match="either a definition or a frontend"):
        SolveRequest(**given)


def test_a_state_is_read_through_its_ref(tmp_path) -> None:
    async def ask(bridge: EngineBridge) -> None:
        ref = await solve_state(bridge, HELLO)
        assert ref.id == ref.definition().head.vertex.digest  # type: ignore[union-attr]
        assert await ref.read_file("hello", offset=1, length=3) == b"ell"
        assert [entry.path for entry in await ref.read_dir("/")] == ["hello"]
        assert (await ref.stat_file("/hello")).size == 5
        with pytest.raises(FileNotFoundError):
            await ref.read_file("other")

    on_bridge(tmp_path, ask)


def test_results_are_lazy_unless_they_are_to_be_evaluated(tmp_path) -> None:
    broken = llb.scratch().copy(llb.scratch(), "/missing", "/")

    async def ask(bridge: EngineBridge) -> None:
        assert (await bridge.solve(SolveRequest(definition=broken))).ref.id
        with pytest.raises(Exception, match="missing"):
            await bridge.solve(SolveRequest(definition=broken.graph(), evaluate=True))

    on_bridge(tmp_path, ask)


def test_a_frontend_nobody_has_is_named(tmp_path) -> None:
    async def ask(bridge: EngineBridge) -> None:
        with pytest.raises(NoFrontendError) as caught:
            await bridge.solve(SolveRequest(frontend="nobody/has:1"))
        assert caught.value.name == "nobody/has:1"

    on_bridge(tmp_path, ask)
