# SPDX-License-Identifier: Apache-2.0
"""What BuildKit's Go client makes of options that the vectors leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llb import StateError, diff, git, http, image, merge, scratch
from llb.ops import Exec, Platform
from llb.ops import Source as SourceOp
from llb.state import State

REPO = "https://h.test/a.git"


def source_of(state: State) -> tuple[dict[str, str], frozenset[str]]:
    graph = state.graph()
    (vertex,) = graph.vertices
    assert isinstance(vertex.op, SourceOp)
    return dict(vertex.op.attrs), frozenset(graph.metadata_of(vertex.digest).caps)


def exec_of(state: State, **options: Any) -> Exec:
    (found,) = [v.op for v in state.run("x").root.graph(**options).vertices if isinstance(v.op, Exec)]
    return found


@pytest.mark.parametrize(
    ("given", "cap"),
    [
        ({}, False),
        ({"auth_header_secret": "", "auth_token_secret": ""}, False),
        ({"auth_header_secret": ""}, True),
        ({"auth_token_secret": "T", "auth_header_secret": ""}, True),
    ],
)
def test_choosing_a_secret_asks_for_a_cap_if_one_is_left(given: dict[str, Any], cap: bool) -> None:
    assert ("source.git.httpauth" in source_of(git(REPO, **given))[1]) is cap


def test_a_host_key_loses_one_line_end() -> None:
    attrs, _ = source_of(git("git@h.test:a", known_ssh_hosts=["k1\n\n", "k2"]))
    assert attrs["git.knownsshhosts"] == "k1\n\nk2\n"


def test_root_is_no_owner_that_is_said() -> None:
    attrs, caps = source_of(http("http://h.test/f", chown=(0, 7)))
    assert attrs == {"http.gid": "7"}
    assert "soruce.http.uidgid" in caps
    assert source_of(http("http://h.test/f", chown=(0, 0)))[0] == {}


def test_merges_and_diffs_of_nothing_are_scratch_alone() -> None:
    kept = scratch().dir("/kept").env("A", "1")
    for state in (merge([kept, scratch()]), diff(scratch(), kept)):
        op = exec_of(state)
        assert (op.meta.cwd, op.meta.env) == ("/", ())


@pytest.mark.parametrize(
    ("command", "text"),
    [("a 'b", "EOF found when expecting closing quote"), ('a "b\\', "EOF found after escape character")],
)
def test_unfinished_command_lines_are_refused(command: str, text: str) -> None:
    with pytest.raises(StateError, match=f"^{text}$"):
        image("alpine").run(command).root.graph()


@pytest.mark.parametrize(
    ("written", "sent"),
    [("::FFFF:1.2.3.4", "1.2.3.4"), ("2001:DB8:0:0::1", "2001:db8::1"), ("10.0.0.1", "10.0.0.1")],
)
def test_addresses_of_hosts_are_written_as_go_does(written: str, sent: str) -> None:
    assert [host.ip for host in exec_of(scratch().add_extra_host("h", written)).meta.extra_hosts] == [sent]


def test_an_image_config_gives_the_whole_platform_and_keeps_a_directory_it_does_not_name() -> None:
    config = {"os": "windows", "architecture": "amd64", "os.version": "10.1", "os.features": ["f"]}
    graph = scratch().dir("/kept").with_image_config(json.dumps(config)).run("x").root.graph()
    (vertex,) = graph.vertices
    assert isinstance(vertex.op, Exec)
    assert vertex.op.meta.cwd == "/kept"
    assert vertex.platform == Platform(
        os="windows", architecture="amd64", os_version="10.1", os_features=("f",)
    )
