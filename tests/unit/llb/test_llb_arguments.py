# SPDX-License-Identifier: Apache-2.0
"""The builder refuses wrong arguments where they are written, and shows its values in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from llbkit import llb

WRONG = cast("Any", 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: llb.image(WRONG), "image() argument 'ref' must be str, not int"),
        (lambda: llb.local(cast("Any", None)), "local() argument 'name' must be str, not None"),
        (lambda: llb.git(WRONG), "git() argument 'url'"),
        (lambda: llb.http(WRONG), "http() argument 'url'"),
        (lambda: llb.scratch().run(WRONG), "run() argument 'command' must be a sequence of str, not int"),
        (lambda: llb.scratch().run(["a", WRONG]), "run() argument 'command': item 1 must be str, not int"),
        (lambda: llb.scratch().run("a", mounts=cast("Any", "/m")), "run() argument 'mounts' must be a sequence"),
        (lambda: llb.scratch().run("a", mounts=[cast("Any", llb.scratch())]), "item 0 must be MountSpec"),
        (lambda: llb.scratch().run("a", env={"A": WRONG}), "env['A']"),
        (lambda: llb.scratch().env("A", WRONG), "env() argument 'value'"),
        (lambda: llb.scratch().dir(WRONG), "dir() argument 'path'"),
        (lambda: llb.scratch().user(WRONG), "user() argument 'name'"),
        (lambda: llb.scratch().copy(cast("Any", "src"), "/a", "/b"), "copy() argument 'source' must be State or Chain"),
        (lambda: llb.scratch().copy(llb.scratch(), "/a", "/b", include=cast("Any", "*.py")), "a sequence of str, not str"),
        (lambda: llb.scratch().copy(llb.scratch(), "/a", "/b", owner=cast("Any", 1.5)), "owner must be user[:group]"),
        (lambda: llb.scratch().mkfile("/a", WRONG), "mkfile() argument 'data' must be bytes or str, not int"),
        (lambda: llb.scratch().mkdir("/a", cast("Any", "755")), "mkdir() argument 'mode' must be int, not str"),
        (lambda: llb.scratch().mkdir("/a", True), "must be int, not bool"),
        (lambda: llb.scratch().file(cast("Any", "x")), "item 0 must be ActionSpec"),
        (lambda: llb.bind(cast("Any", "src"), "/a"), "bind() argument 'source' must be State or None, not str"),
        (lambda: llb.merge([cast("Any", "x")]), "merge() argument 'inputs': item 0 must be State, not str"),
        (lambda: llb.diff(llb.scratch(), WRONG), "diff() argument 'upper'"),
        (lambda: llb.scratch().graph(platform=WRONG), "must be Platform or None, not int"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_values_are_shown_in_a_line() -> None:
    state = llb.image("alpine").run("make  all").root
    assert repr(llb.scratch()) == "<State scratch>"
    assert repr(llb.image("alpine")) == "<State source docker-image://docker.io/library/alpine:latest>"
    assert repr(state) == "<State exec make all>"
    shown = repr(state.graph(platform="linux/amd64"))
    assert shown.startswith("<Graph 2 vertices, ")
    assert shown.endswith(" make all>")
    assert repr(llb.scratch().graph()) == "<Graph scratch>"


def test_notebooks_draw_graphs() -> None:
    assert llb.image("alpine").run("make")._repr_svg_().startswith("<svg")
