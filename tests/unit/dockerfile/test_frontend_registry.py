# SPDX-License-Identifier: Apache-2.0
"""Which frontend a name means."""

from __future__ import annotations

import pytest

from llbkit.frontends import registry
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.grammar import DiagnosticError


@pytest.mark.parametrize(
    ("name", "labs"),
    [
        ("dockerfile.v0", False),
        ("docker/dockerfile:1", False),
        ("docker.io/docker/dockerfile:1.14", False),
        ("docker/dockerfile:1-labs", True),
        ("docker/dockerfile:labs@sha256:" + "0" * 64, True),
    ],
)
def test_every_version_of_the_official_frontend_is_the_built_in_one(name: str, labs: bool) -> None:
    found = registry.load(name)
    assert isinstance(found, DockerfileFrontend)
    assert found.labs is labs


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DiagnosticError) as caught:
        registry.load("dockerfile.v1")
    assert "dockerfile.v0" in caught.value.diagnostics[0].help
