# SPDX-License-Identifier: Apache-2.0
"""What BuildKit's frontend was seen to answer where the vectors are silent: each row is its answer, word for word."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from typing import Any

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.lower.convert import Converted
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.grammar import DiagnosticError
from llbkit.llb.ir.ops import Exec
from llbkit.llb.ir.ops import Source as SourceOp
from tests.unit.dockerfile.test_dockerfile_lowering import IMAGES

FROM = "FROM alpine:3.20\n"


def bridge_of(text: str, images: dict[str, Any] = IMAGES, **attrs: str) -> RecordedBridge:
    return RecordedBridge({"dockerfile": text, "frontend_attrs": attrs}, images)


def lower(text: str, **attrs: str) -> Converted:
    return asyncio.run(DockerfileFrontend().convert(bridge_of(text, **attrs)))[0]


def message(text: str, **attrs: str) -> str:
    with pytest.raises(DiagnosticError) as caught:
        lower(text, **attrs)
    return caught.value.diagnostics[0].message


def source_of(line: str) -> tuple[str, dict[str, str]]:
    """Return the identifier of the remote source of an ADD, and its attributes but the names of secrets."""
    ops = [vertex.op for vertex in lower(f"{FROM}ADD {line} /x\n").state.graph()]
    (found,) = [op for op in ops if isinstance(op, SourceOp) and not op.identifier.startswith("docker-image")]
    return found.identifier, {key: value for key, value in found.attrs.items() if "auth" not in key}


def exec_of(line: str) -> Exec:
    (found,) = [
        vertex.op for vertex in lower(f"{FROM}RUN {line}\n").state.graph() if isinstance(vertex.op, Exec)
    ]
    return found


HOST = "https://h.test/a/b.git"


@pytest.mark.parametrize(
    ("address", "identifier", "url"),
    [
        (f"{HOST}?ref=v1#v1", "git://h.test/a/b.git#v1", HOST),
        (f"{HOST}?ref=x#:d", "git://h.test/a/b.git#x:d", HOST),
        (f"{HOST}?tag=refs/tags/v1", "git://h.test/a/b.git#refs/tags/v1", HOST),
        (f"{HOST}?branch=b", "git://h.test/a/b.git#refs/heads/b", HOST),
        (f"{HOST}?subdir=/d/../e", "git://h.test/a/b.git#:/d/../e", HOST),
        (f"{HOST}#x:/d/../e", "git://h.test/a/b.git#x:e", HOST),
        (f"{HOST}?ref=a%2Fb", "git://h.test/a/b.git#a/b", HOST),
        (f"{HOST}?ref=a&x=%zz", "git://h.test/a/b.git#a", HOST),
        (f"{HOST}?ref=a;b", "git://h.test/a/b.git", HOST),
        (f"{HOST}?", "git://h.test/a/b.git", f"{HOST}?"),
        (f"{HOST}#%41", "git://h.test/a/b.git#A", HOST),
        ("HTTPS://H.Test/A.git", "git://H.Test/A.git", "https://H.Test/A.git"),
        ("https://h.test/a/../b.git", "git://h.test/b.git", "https://h.test/a/../b.git"),
        ("https://h.test//a//b.git", "git://h.test/a/b.git", "https://h.test//a//b.git"),
        ("https://h.test/a%20b.git", "git://h.test/a b.git", "https://h.test/a%20b.git"),
        ("https://h.test/é.git", "git://h.test/é.git", "https://h.test/%C3%A9.git"),
        ("https://u:@[::1]:80/a.git", "git://[::1]:80/a.git", "https://u:@[::1]:80/a.git"),
        ("git://h.test", "git://h.test/", "git://h.test"),
        ("git://", "git://git:/", "https://git:"),
        ("git@h.test:../b/", "git://h.test/b", "git@h.test:../b/"),
        ("git@h.test:a?ref=v#v", "git://h.test/a#v", "git@h.test:a"),
    ],
)
def test_git_addresses_name_their_repository_as_in_go(address: str, identifier: str, url: str) -> None:
    found, attrs = source_of(address)
    assert (found, attrs["git.fullurl"]) == (identifier, url)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://h.test/a.git/", "a.git"),
        ("https://h.test/a.git#%zz", "__unnamed__"),
        ("https://h.test:x/a.git", "__unnamed__"),
        ("https://h[]x.test/a.git", "__unnamed__"),
        ("http://[::1/f", "__unnamed__"),
        ("http://h.test/a/.", "__unnamed__"),
        ("http://h.test/a/..", ".."),
        ("http://h.test/a//", "a"),
    ],
)
def test_what_is_no_git_address_is_a_file(address: str, name: str) -> None:
    assert source_of(address) == (address, {"http.filename": name})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{HOST}?ref=", 'query "ref" has no value'),
        (f"{HOST}?ref=a&ref=a", 'query "ref" has multiple values'),
        (f"{HOST}?ref=x#y", 'ref conflicts: "y" vs "x"'),
        (f"{HOST}?ref=a&tag=b", 'ref conflicts: "a" vs "refs/tags/b"'),
        (f"{HOST}?tag=a&branch=b", "branch conflicts with tag"),
        (f"{HOST}?subdir=d#x:e", 'subdir conflicts: "e" vs "d"'),
        (f"{HOST}?submodules=x", 'invalid submodules value: "x"'),
        (f"{HOST}?bogus=1", 'unexpected query "bogus"'),
        (f"--checksum=ab1 {HOST}?checksum=ab2", 'checksum mismatch "ab1" != "ab2"'),
        (f"--keep-git-dir=false {HOST}?keep-git-dir", "inconsistent keep-git-dir configuration"),
    ],
)
def test_git_addresses_that_contradict_themselves_are_refused(line: str, text: str) -> None:
    assert message(f"{FROM}ADD {line} /x\n") == text


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1_000", 1000),
        ("1e3k", 1024000),
        ("0x1p4", 16),
        (".5k", 512),
        ("5.", 5),
        ("1.0000001k", 1024),
    ],
)
def test_sizes_are_floats_as_go_reads_them(written: str, size: int) -> None:
    mount = exec_of(f"--mount=type=tmpfs,target=/t,size={written} x").mounts[1]
    assert mount.tmpfs is not None
    assert mount.tmpfs.size == size


@pytest.mark.parametrize(
    "written",
    ["1__0", "1_", "inf", "nan", "-1k", "1e", "1e400", "0x10", "١k", "1ki", "k", "9223372036854775808"],
)
def test_what_is_no_size_is_refused(written: str) -> None:
    assert message(f"{FROM}RUN --mount=type=tmpfs,target=/t,size={written} x\n").startswith(
        "invalid value for size"
    )


def test_a_secret_as_a_variable_without_a_name_is_a_variable_all_the_same() -> None:
    op = exec_of("--mount=type=secret,id=s,env= x")
    assert len(op.mounts) == 1
    assert [(secret.id, secret.name) for secret in op.secret_env] == [("s", "")]


@pytest.mark.parametrize(
    ("flags", "target"),
    [
        ("target=/é x", "/Ã©"),
        ("target=/日 x", "/æ\x97¥"),
        ("target=/à,id=i x", "/Ã"),
        ('target="/à" x', "/Ã\xa0"),
    ],
)
def test_flags_are_read_byte_by_byte(flags: str, target: str) -> None:
    assert exec_of(f"--mount=type=cache,{flags}").mounts[1].dest == target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "HEALTHCHECK --interval=5µs CMD x",
            r'time: unknown unit "\xc3\x82\xc2\xb5s" in duration "5\xc3\x82\xc2\xb5s"',
        ),
        ("HEALTHCHECK --interval='5\"s' CMD x", r'time: unknown unit "\"s" in duration "5\"s"'),
        ("HEALTHCHECK --interval=2562048h CMD x", 'time: invalid duration "2562048h"'),
        ("HEALTHCHECK --retries=99999999999999999999 CMD x", "value out of range"),
        ('RUN --mount=\'type=cache,"target=/""x\' y', "column 23: extraneous or missing"),
    ],
)
def test_values_are_refused_in_the_words_of_go(text: str, expected: str) -> None:
    assert expected in message(f"{FROM}{text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# check=y\n# check=y\nFROM a\n", 'failed to parse check options: invalid check option "y"'),
        ("# escape=x\n# check=y\nFROM a\n", 'failed to parse check options: invalid check option "y"'),
        ("# check=y\n", 'failed to parse check options: invalid check option "y"'),
        (
            "# check=error=\nFROM a\n",
            (
                'failed to parse check options: failed to parse check option "error=": '
                'strconv.ParseBool: parsing "": invalid syntax'
            ),
        ),
        (
            "FROM --platform=${X:?m} a\n",
            'failed to process arguments for platform : failed to process "${X:?m}": X: m',
        ),
    ],
)
def test_what_is_read_first_is_told_of_first(text: str, expected: str) -> None:
    assert message(text) == expected


def test_blank_lines_that_a_continuation_swallows_belong_to_the_instruction() -> None:
    with pytest.raises(ProgramError) as caught:
        lower(f"{FROM}BOGUS \\\n\n\n")
    assert [place.lines for place in caught.value.locations] == [((2, 2), (3, 3), (4, 4))]


@pytest.mark.parametrize(
    ("platform", "version"),
    [
        ("windows/amd64", "10.0.20348.2340"),
        ("windows/arm64", ""),
        ("linux/amd64", ""),
        ("windows(1.2)/amd64", "1.2"),
    ],
)
def test_the_version_of_an_operating_system_stays_on_its_platform(platform: str, version: str) -> None:
    config = json.loads(lower("FROM mcr.example.test/windows/nano:ltsc\n", platform=platform).image.encode())
    assert config.get("os.version", "") == version


@pytest.mark.parametrize(
    ("written", "shown", "config"),
    [
        ("windows(10.0%2B1)/amd64", "windows(10.0%2B1)/amd64", {"os.version": "10.0+1"}),
        ("windows(1+b+a+b)/amd64", "windows(1+a+b)/amd64", {"os.version": "1", "os.features": ["a", "b"]}),
        ("windows(+a%28%2F%25%20b)/amd64", "windows(+a%28%2F%25 b)/amd64", {"os.features": ["a(/% b"]}),
    ],
)
def test_versions_and_features_of_an_operating_system_are_escaped(
    written: str, shown: str, config: dict[str, object]
) -> None:
    found = lower("FROM scratch\nARG TARGETPLATFORM\nENV x=$TARGETPLATFORM\n", platform=written)
    made = json.loads(found.image.encode())
    assert made["config"]["Env"] == [f"x={shown}"]
    assert {key: value for key, value in made.items() if key.startswith("os.")} == config


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("windows(10.0%zz)/amd64", 'has an invalid OS version "10.0%zz": invalid URL escape "%zz"'),
        ("windows(+x%2)/amd64", 'has invalid OS features: invalid os feature "x%2": invalid URL escape "%2"'),
    ],
)
def test_malformed_escapes_of_a_platform_are_refused(written: str, expected: str) -> None:
    assert message("FROM scratch\n", platform=written).endswith(expected)


BAD = "registry.example.test/kit/onbuild-bad:1"


@pytest.mark.parametrize(
    ("text", "attrs"),
    [
        (f"FROM {BAD}\n", {}),
        (f"FROM scratch\nCOPY --from={BAD} a b\n", {}),
        (f"FROM scratch\nRUN --mount=from={BAD},target=/b x\n", {}),
        ("FROM alpine AS base\nFROM base\n", {"context:base": f"docker-image://{BAD}"}),
    ],
)
def test_triggers_of_every_image_are_read(text: str, attrs: dict[str, str]) -> None:
    assert message(text, **attrs).startswith("unknown instruction: RNU")


def test_what_the_triggers_of_a_copied_image_name_is_asked_for() -> None:
    bridge = bridge_of("FROM scratch\nCOPY --from=registry.example.test/kit/onbuild-from:1 a b\n")
    asyncio.run(DockerfileFrontend().convert(bridge))
    assert "docker.io/library/busybox:1.36" in [call["ref"] for call in bridge.calls]


def test_a_context_in_the_place_of_a_stage_is_no_base_image_and_leaves_no_triggers() -> None:
    app = {"context:base": "docker-image://registry.example.test/kit/onbuild-app:1"}
    replaced = lower("FROM alpine AS base\n", **app)
    assert replaced.base_image is None
    assert replaced.image.config.on_build == []
    assert lower("FROM base\n", **app).base_image is not None


def test_the_base_of_a_context_without_a_config_is_an_empty_image() -> None:
    base = lower("FROM base\n", **{"context:base": "local:files"}).base_image
    assert base is not None
    assert json.loads(base.encode())["config"]["WorkingDir"] == "/"


@pytest.mark.parametrize("digest", ["sha256:123", "", "a@sha256:" + "1" * 64])
def test_a_malformed_layout_is_named(digest: str) -> None:
    attrs = {"context:base": f"oci-layout://x@{digest}"}
    expected = f'could not parse oci-layout reference "x@{digest}": invalid reference format'
    assert message("FROM base\n", **attrs) == expected


def test_an_empty_base_may_have_any_platform_and_none_is_linux() -> None:
    name = "docker.io/library/alpine:3.20"
    images = deepcopy(IMAGES)

    def warnings(config: dict[str, Any]) -> list[str]:
        images["images"][name] = {
            "digest": "sha256:" + "0" * 64,
            "single": True,
            "variants": [{"platform": "linux/amd64", "config": json.dumps(config)}],
        }
        bridge = bridge_of("FROM alpine:3.20\n", images)
        asyncio.run(DockerfileFrontend().convert(bridge))
        return [warning.message for warning in bridge.warnings]

    layers = {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}
    assert warnings({"architecture": "arm64", "os": "linux"}) == []
    (found,) = warnings({"architecture": "amd64", "rootfs": layers})
    assert 'pulled with platform "linux/amd64", expected "linux/amd64"' in found


ULIMIT = "failed to parse ulimit: "


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"ulimit": "nofile=x"}, ULIMIT + 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"ulimit": "nofile=1:"}, ULIMIT + 'strconv.ParseInt: parsing "": invalid syntax'),
        (
            {"ulimit": "nofile=1:2:3"},
            ULIMIT + "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
        ),
        (
            {"ulimit": "nofile=-1:5"},
            ULIMIT
            + "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5",
        ),
        (
            {"shm-size": "9223372036854775808"},
            'failed to parse shm size: strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        (
            {"add-hosts": "a=fe80::1%eth0"},
            "failed to parse additional hosts: failed to parse IP fe80::1%eth0",
        ),
        ({"override-copy-image": "x"}, 'support for "override-copy-image" was removed in BuildKit 0.11'),
        ({"cache-imports": "["}, 'failed to unmarshal cache-imports ("["): unexpected end of JSON input'),
        (
            {"cache-imports": "x"},
            "failed to unmarshal cache-imports (\"x\"): invalid character 'x' looking for beginning of value",
        ),
        (
            {"cache-imports": "{}"},
            (
                'failed to unmarshal cache-imports ("{}"): json: cannot unmarshal object into Go value of type '
                "[]*moby_buildkit_v1.CacheOptionsEntry"
            ),
        ),
        (
            {"platform": "linux/amd64,linux/arm64", "multi-platform": "false"},
            "conflicting config: returning multiple target platforms is not allowed",
        ),
        ({"shm-size": "x", "image-resolve-mode": "q"}, "invalid image-resolve-mode: q"),
        (
            {"multi-platform": "m", "shm-size": "x"},
            'failed to parse shm size: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        ({"contextkey": "ctx", "ctx": f"{HOST}?bogus=1"}, 'unexpected query "bogus"'),
    ],
)
def test_attributes_are_refused_in_order_and_word(attrs: dict[str, str], expected: str) -> None:
    assert message("FROM scratch\n", **attrs) == expected


def test_build_arguments_win_over_attributes() -> None:
    attrs = {"hostname": "a", "build-arg:BUILDKIT_SANDBOX_HOSTNAME": "b"}
    (op,) = [v.op for v in lower(f"{FROM}RUN x\n", **attrs).state.graph() if isinstance(v.op, Exec)]
    assert op.meta.hostname == "b"
    attrs = {"multi-platform": "no boolean", "build-arg:BUILDKIT_MULTI_PLATFORM": "true"}
    assert lower("FROM scratch\n", **attrs).platform is None


def test_names_of_stages_that_ignore_the_cache_are_taken_as_they_are() -> None:
    assert not lower("FROM alpine AS b\nRUN x\n", **{"no-cache": " b"}).ignore_cache
    assert lower("FROM alpine AS b\nRUN x\n", **{"no-cache": "a,B"}).ignore_cache


def test_a_client_may_need_what_the_frontend_can_do_and_no_more() -> None:
    def build(caps: str) -> None:
        asyncio.run(DockerfileFrontend().build(bridge_of("FROM scratch\n", **{"frontend.caps": caps})))

    build("moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts+forward")
    with pytest.raises(ProgramError, match=r"^unsupported frontend capability new\.cap$"):
        build("moby.buildkit.frontend.inputs,new.cap+forward")


def test_features_of_a_base_image_stay_when_it_is_built_for_another_platform() -> None:
    """As seen with 0.25."""
    images = deepcopy(IMAGES)
    config = {"architecture": "riscv64", "os": "linux", "os.features": ["sse4"]}
    images["images"]["docker.io/library/alpine:3.20"] = {
        "digest": "sha256:" + "0" * 64,
        "single": True,
        "variants": [{"platform": "linux/riscv64", "config": json.dumps(config)}],
    }
    bridge = bridge_of("FROM alpine:3.20\n", images, platform="linux/386")
    made = json.loads(asyncio.run(DockerfileFrontend().convert(bridge))[0].image.encode())
    assert (made["architecture"], made["os.features"]) == ("386", ["sse4"])


@pytest.mark.parametrize(
    ("image", "asked", "variant"),
    [
        ({"architecture": "amd64", "variant": "v2"}, "linux/amd64", "v2"),
        ({"architecture": "amd64", "variant": "v2"}, "linux/amd64/v3", "v3"),
        ({"architecture": "amd64", "variant": "v2"}, "linux/386", None),
        ({"architecture": "arm64", "variant": "v8"}, "linux/arm64", None),
        ({"architecture": "arm", "variant": "v6"}, "linux/arm/v7", "v7"),
    ],
)
def test_the_variant_of_a_base_image_stays_for_the_same_architecture(
    image: dict[str, str], asked: str, variant: str | None
) -> None:
    """As seen with 0.25."""
    images = deepcopy(IMAGES)
    images["images"]["docker.io/library/alpine:3.20"] = {
        "digest": "sha256:" + "0" * 64,
        "single": True,
        "variants": [{"platform": asked, "config": json.dumps({"os": "linux", **image})}],
    }
    bridge = bridge_of("FROM alpine:3.20\n", images, platform=asked)
    made = json.loads(asyncio.run(DockerfileFrontend().convert(bridge))[0].image.encode())
    assert made.get("variant") == variant


def test_a_result_is_of_the_platform_that_was_asked_for_whatever_its_image_says() -> None:
    """As seen with 0.25, in whose indexes an image of arm64 is listed as one of amd64."""
    images = deepcopy(IMAGES)
    images["images"]["docker.io/library/alpine:3.20"] = {
        "digest": "sha256:" + "0" * 64,
        "single": True,
        "variants": [
            {"platform": "linux/arm64", "config": json.dumps({"os": "linux", "architecture": "arm64"})}
        ],
    }
    bridge = bridge_of("FROM alpine:3.20\n", images)
    (result,) = asyncio.run(DockerfileFrontend().build(bridge)).results
    assert result.platform == bridge.build_platforms[0]
    assert json.loads(result.config or b"")["architecture"] == "arm64"
