# SPDX-License-Identifier: Apache-2.0
"""Options of a build that the newest BuildKit reads: limits of steps, proxies, removed ones, and capabilities that are not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.syntax.directives import scan
from llbkit.frontends.kit.directives import detect_syntax
from llbkit.grammar import Source
from llbkit.llb.ir.graph import LinuxResources, Metadata
from llbkit.llb.ir.ops import CDIDevice, Copy, Exec, File, MountType
from tests.unit.dockerfile.test_dockerfile_as_buildkit import FROM, IMAGES, lower, message


def ran(
    line: str,
    *,
    without: tuple[str, ...] = (),
    base: str = FROM,
    devices: tuple[str, ...] = (),
    labs: bool = True,
    **attrs: str,
) -> tuple[Exec, Metadata]:
    """Return the op of a RUN and its metadata, for an engine without some capabilities."""
    case: dict[str, Any] = {"dockerfile": f"{base}RUN {line}\n", "frontend_attrs": attrs}
    bridge = RecordedBridge({**case, "options": {"disabled_caps": without}}, IMAGES)
    frontend = DockerfileFrontend(labs=labs, devices=[CDIDevice(name=name) for name in devices])
    (found,) = asyncio.run(frontend.convert(bridge))
    graph = found.state.graph(platform=found.target_platform, caps=bridge.caps)
    (vertex,) = [vertex for vertex in graph.vertices if isinstance(vertex.op, Exec)]
    assert isinstance(vertex.op, Exec)
    return vertex.op, graph.metadata_of(vertex.digest)


# -- limits

LIMITS = "failed to parse resource limits: "


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("memory", "0", "must be > 0"),
        ("memory", "-1", "must be > 0"),
        ("memory", "1k", 'strconv.ParseInt: parsing "1k": invalid syntax'),
        (
            "memory",
            "9223372036854775808",
            'strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        ("memswap", "0", "must be -1 (unlimited) or > 0"),
        ("memswap", "-2", "must be -1 (unlimited) or > 0"),
        ("cpushares", "0", "must be > 0"),
        ("cpushares", "-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("cpuperiod", "x", 'strconv.ParseUint: parsing "x": invalid syntax'),
        (
            "cpuperiod",
            "18446744073709551616",
            'strconv.ParseUint: parsing "18446744073709551616": value out of range',
        ),
        ("cpuquota", "-1", "must be > 0"),
        ("cpusetcpus", "a", 'invalid cpuset element "a"'),
        ("cpusetcpus", "0,,1", 'invalid cpuset element ""'),
        ("cpusetcpus", "1-", 'invalid cpuset element "1-"'),
        ("cpusetcpus", "1-2-3", 'invalid cpuset element "1-2-3"'),
        ("cpusetcpus", "0-1,3-1", 'invalid cpuset range "3-1"'),
        ("cpusetmems", "-1", 'invalid cpuset element "-1"'),
    ],
)
def test_limits_that_are_none_are_refused(key: str, value: str, cause: str) -> None:
    assert message("FROM scratch\n", **{key: value}) == f"{LIMITS}invalid {key} value: {value}: {cause}"


def test_limits_are_metadata_of_every_run_and_empty_ones_are_none() -> None:
    attrs = {
        "memory": "1", "memswap": "-1", "cpushares": "2", "cpuperiod": "3", "cpuquota": "4",
        "cpusetcpus": "0-1,7", "cpusetmems": "0",
    }  # fmt: skip
    _, metadata = ran("x", **attrs)
    assert metadata.linux_resources == LinuxResources(
        memory=1,
        memory_swap=-1,
        cpu_shares=2,
        cpu_period=3,
        cpu_quota=4,
        cpuset_cpus="0-1,7",
        cpuset_mems="0",
    )
    assert "exec.meta.linux.resources" in metadata.caps
    assert ran("x", **dict.fromkeys(attrs, ""))[1].linux_resources is None


def test_what_is_wrong_with_the_network_is_told_of_before_limits() -> None:
    assert message("FROM scratch\n", memory="0", **{"force-network-mode": "q"}) == "invalid netmode q"
    assert message("FROM scratch\n", memory="0", **{"multi-platform": "q"}).startswith(LIMITS)


# -- other options


def test_of_several_spellings_of_a_proxy_the_last_in_order_counts() -> None:
    given = {
        "http_proxy": "lower",
        "HTTP_PROXY": "upper",
        "Http_proxy": "mixed",
        "NO_PROXY": "n",
        "No_Proxy": "m",
    }
    for order in (list(given), list(reversed(given))):
        op, _ = ran("x", **{f"build-arg:{key}": given[key] for key in order})
        assert op.meta.proxy_env is not None
        assert (op.meta.proxy_env.http_proxy, op.meta.proxy_env.no_proxy) == ("lower", "m")


@pytest.mark.parametrize("value", ["true", "1", "T"])
def test_an_option_that_was_removed_is_refused_before_all_others(value: str) -> None:
    attrs = {"build-arg:BUILDKIT_DISABLE_FILEOP": value, "platform": "x/y/z/a"}
    expected = 'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11'
    assert message("", **attrs) == expected


@pytest.mark.parametrize("value", ["false", "0", "x", ""])
def test_an_option_that_was_removed_may_be_off(value: str) -> None:
    lower("FROM scratch\n", **{"build-arg:BUILDKIT_DISABLE_FILEOP": value})


# -- capabilities


@pytest.mark.parametrize(
    ("cap", "attrs"),
    [
        ("exec.meta.ulimit", {"ulimit": "nofile=1"}),
        ("exec.mount.tmpfs.size", {"shm-size": "5"}),
        ("exec.meta.cgroup.parent", {"cgroup-parent": "q"}),
        ("exec.meta.linux.resources", {"memory": "5"}),
    ],
)
def test_options_of_an_engine_that_lacks_them_change_nothing(cap: str, attrs: dict[str, str]) -> None:
    assert ran("x", without=(cap,), **attrs) == ran("x")
    op, metadata = ran("x", **attrs)
    assert (op, metadata) != ran("x")
    assert cap in metadata.caps or cap == "exec.meta.cgroup.parent"


def test_a_size_of_shared_memory_asks_for_the_capability_of_sizes_alone() -> None:
    op, _ = ran("x", without=("exec.mount.tmpfs",), **{"shm-size": "5"})
    assert [mount.dest for mount in op.mounts] == ["/", "/dev/shm"]
    op, metadata = ran("--mount=type=tmpfs,target=/t,size=5 x", without=("exec.mount.tmpfs.size",))
    assert op.mounts[1].mount_type is MountType.TMPFS
    assert "exec.mount.tmpfs.size" in metadata.caps


def test_an_engine_without_devices_gets_none_and_no_error() -> None:
    without = ("exec.meta.cdi",)
    for labs in (True, False):
        op, metadata = ran("--device=v/c=d x", without=without, devices=("v/c=e",), labs=labs)
        assert op.cdi_devices == ()
        assert "exec.meta.cdi" not in metadata.caps
    op, metadata = ran("--device=v/c=d x", devices=("v/c=e",))
    assert [device.name for device in op.cdi_devices] == ["v/c=e", "v/c=d"]
    assert "exec.meta.cdi" in metadata.caps


@pytest.mark.parametrize(
    ("base", "platform", "path"),
    [
        ("FROM scratch\n", "linux/amd64", True),
        ("FROM scratch\nENV PATH=/x\n", "linux/amd64", False),
        ("FROM mcr.example.test/windows/nano:ltsc\n", "windows/amd64", False),
    ],
)
def test_an_engine_that_sets_no_default_path_is_given_one_but_not_for_windows(
    base: str, platform: str, path: bool
) -> None:
    cap = "exec.meta.setsdefaultpath"
    given = ran("x", base=base, platform=platform)[0].meta.env
    op, metadata = ran("x", base=base, platform=platform, without=(cap,))
    assert cap not in metadata.caps
    assert op.meta.env == given if not path else op.meta.env[-1].startswith("PATH=/usr/local/sbin:")


@pytest.mark.parametrize(
    ("source", "required"),
    [
        ("a/b", "/a/b"),
        ("a/./b", "/a/b"),
        ("/a/./b/", "/a/b"),
        ("a/*", None),
        ("a/./b*", None),
        ("a*/./b", None),
        ("a[x]/./b", None),
        (r"a\*/./b", r"/a\*/b"),
    ],
)
@pytest.mark.parametrize("without", [(), ("file.copy.requiredpaths",)])
def test_paths_copied_with_their_parents_are_required_unless_a_part_is_a_pattern(
    source: str, required: str | None, without: tuple[str, ...]
) -> None:
    case = {"dockerfile": f'FROM scratch\nCOPY --parents ["{source}", "/x/"]\n'.replace("\\", "\\" * 4)}
    bridge = RecordedBridge({**case, "options": {"disabled_caps": without}}, IMAGES)
    (found,) = asyncio.run(DockerfileFrontend().convert(bridge))
    (op,) = [v.op for v in found.state.graph(caps=bridge.caps).vertices if isinstance(v.op, File)]
    action = op.actions[0].action
    assert isinstance(action, Copy)
    assert action.required_paths == (() if required is None else (required,))


# -- directives


@pytest.mark.parametrize("space", [" ", "\t", "\v", "\x85", "\xa0", "\u2003", "\u3000 \u2028"])
def test_any_space_may_stand_before_the_name_of_a_directive(space: str) -> None:
    source = Source.from_bytes("Dockerfile", f"#{space}escape=`\nFROM a\n".encode(), "Dockerfile")
    assert scan(source)["escape"].value == "`"
    syntax = Source.from_bytes("Dockerfile", f"#{space}syntax=x\nFROM a\n".encode(), "Dockerfile")
    found = detect_syntax(syntax)
    assert found is not None
    assert found.value == "x"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("# syntax\xa0=a", None),
        ("# syntax=\xa0a", "\xa0a"),
        ("#\u200bsyntax=a", None),
        ("# syntax=a\xa0", "a\xa0"),
    ],
)
def test_around_the_value_of_a_directive_only_plain_space_is_none_of_it(line: str, value: str | None) -> None:
    source = Source.from_bytes("Dockerfile", f"{line}\nFROM a\n".encode(), "Dockerfile")
    found = scan(source).get("syntax")
    assert (found.value if found is not None else None) == value
