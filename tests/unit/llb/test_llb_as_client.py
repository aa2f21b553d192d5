# SPDX-License-Identifier: Apache-2.0
"""What BuildKit's Go client makes of options that the vectors leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llbkit.llb import (
    DefinitionError,
    StateError,
    build,
    diff,
    from_graph,
    git,
    http,
    image,
    image_blob,
    merge,
    oci_layout_blob,
    passthrough,
    requires,
    scratch,
    tmpfs,
)
from llbkit.llb.builder.sources import ImageConfig
from llbkit.llb.builder.state import State
from llbkit.llb.ir.graph import LinuxResources
from llbkit.llb.ir.ops import Exec, Passthrough, Platform, ProxyEnv
from llbkit.llb.ir.ops import Source as SourceOp
from llbkit.llb.wire import encode

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


ARM = "linux/arm64"


def platform_of(state: State) -> str:
    head = state.run("x").graph(platform="linux/amd64").head
    assert head is not None
    assert head.vertex.platform is not None
    return head.vertex.platform.architecture


def test_only_sources_and_processes_give_their_platform_to_what_follows() -> None:
    base, other = image("a"), image("b")
    assert platform_of(image("a", platform=ARM)) == "arm64"
    assert platform_of(git(REPO, platform=ARM)) == "arm64"
    assert platform_of(base.run("x", platform=ARM).root) == "arm64"
    assert platform_of(base.run("x", platform=ARM).at("/")) == "arm64"
    assert platform_of(base.mkdir("/x", platform=ARM)) == "amd64"
    assert platform_of(merge([base, other], platform=ARM)) == "amd64"
    assert platform_of(diff(base, other, platform=ARM)) == "amd64"
    assert platform_of(build(base, platform=ARM)) == "amd64"
    assert platform_of(requires(base, "d", [other], platform=ARM)) == "amd64"
    assert platform_of(image("a", platform=ARM).mkdir("/x", platform="linux/s390x")) == "arm64"
    assert platform_of(from_graph(image("a", platform=ARM).graph())) == "arm64"
    assert platform_of(from_graph(image("a", platform=ARM).mkdir("/x").graph())) == "amd64"


def test_a_reset_keeps_a_platform_or_goes_to_the_root() -> None:
    other = scratch().dir("/o").env("A", "1").platform("linux/s390x")
    op = exec_of(image("a").dir("/own").reset(other))
    assert (op.meta.cwd, op.meta.env) == ("/", ("A=1",))
    kept = image("a", platform=ARM).dir("/own").reset(other)
    assert exec_of(kept).meta.cwd == "/o"
    assert platform_of(kept) == "arm64"
    assert platform_of(image("a").reset(other)) == "s390x"


def test_scratch_passes_nothing_through() -> None:
    base, other = image("a"), image("b")
    (only,) = passthrough("id", [base, scratch(), other], [False, True, True])
    head = only.graph().head
    assert head is not None
    assert (head.vertex.op, len(head.vertex.inputs)) == (Passthrough(id="id", outputs=(1,)), 2)
    with pytest.raises(StateError, match="scratch cannot require anything"):
        requires(scratch(), "id", [base])


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (scratch().file(), "action is required"),
        (requires(image("a"), "", [image("b")]), "passthrough requires an id"),
        (image_blob(f"a:tag@sha256:{'0' * 64}"), "tagged image reference not allowed for blob reference"),
        (
            oci_layout_blob(f"a:tag@sha256:{'0' * 64}"),
            "tagged image reference not allowed for blob reference",
        ),
        (image("a").run("x", mounts=[tmpfs("/t")]).at("/t"), "tmpfs mount for /t can't be used as a parent"),
    ],
)
def test_steps_that_make_no_sense_are_refused_in_the_words_of_the_client(state: State, text: str) -> None:
    with pytest.raises(StateError, match=f"^{text}$"):
        state.graph()


def test_permissions_of_a_file_are_nine_bits() -> None:
    assert source_of(http("http://h.test/f", chmod=0o4711))[0] == {"http.perm": "0711"}
    assert source_of(image_blob(f"a@sha256:{'0' * 64}", chmod=0o1644))[0] == {"http.perm": "0644"}


def test_what_is_no_repository_keeps_its_address_alone() -> None:
    head = git("ftp://h.test/r.git", "ref:dir").graph().head
    assert head is not None
    assert isinstance(head.vertex.op, SourceOp)
    assert head.vertex.op.identifier == "git://ftp://h.test/r.git"


def test_a_proxy_without_addresses_is_sent() -> None:
    graph = image("a").run("x", proxy=ProxyEnv()).graph()
    assert graph.head is not None
    assert isinstance(graph.head.vertex.op, Exec)
    assert graph.head.vertex.op.meta.proxy_env == ProxyEnv()
    assert "exec.meta.proxyenv" in graph.metadata_of(graph.head.vertex.digest).caps


def test_a_resolver_pins_what_it_finds_and_is_asked_in_any_case() -> None:
    found = ImageConfig(config="{}", digest="sha256:" + "1" * 64, ref="h.test/new:1")

    def identifier(**options: Any) -> str:
        head = image("old", resolver=lambda ref, platform: found, **options).graph().head
        assert head is not None
        assert isinstance(head.vertex.op, SourceOp)
        return head.vertex.op.identifier

    assert identifier(resolve_digest=True) == f"docker-image://h.test/new:1@{found.digest}"
    assert identifier() == "docker-image://docker.io/library/old:latest"

    def missing(ref: str, platform: Platform) -> ImageConfig:
        raise StateError(f"{ref}: not found")

    with pytest.raises(StateError, match="old:latest: not found"):
        image("old", resolver=missing).graph()


@pytest.mark.parametrize(
    "state",
    [
        scratch().mkfile("/f", "", created=1 << 63),
        scratch().mkdir("/f", owner=(1 << 32, 0)),
        image("a").run("x", valid_exit_codes=[1 << 40]).root,
        image("a").run("x", resources=LinuxResources(memory=1 << 64)).root,
    ],
)
def test_numbers_that_no_message_holds_are_refused(state: State) -> None:
    with pytest.raises(DefinitionError, match="number out of range in the graph: "):
        encode(state.graph())
