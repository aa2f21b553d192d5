# SPDX-License-Identifier: Apache-2.0
"""Image references and platforms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.llb.address.reference import InvalidReferenceError, parse
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.ops import Platform
from llbkit.worker.oci import INDEX, Descriptor
from llbkit.worker.sources.platform import choose, fallbacks

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "alpine"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("index.docker.io/alpine", "docker.io/library/alpine", "alpine"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("r:5000/a/b:c@" + DIGEST, "r:5000/a/b:c@" + DIGEST, "r:5000/a/b:c@" + DIGEST),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("Host/a", "Host/a", "Host/a"),
    ],
)
def test_references_are_normalised(text, full, familiar):
    assert (str(parse(text)), parse(text).familiar) == (full, familiar)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Alpine", "must be lower case"),
        ("0" * 64, "identifier"),
        ("a:b:c", "invalid tag"),
        ("a@sha256:12", "invalid digest"),
        ("a@sha512:" + "0" * 64, "unsupported or malformed digest"),
        ("a/" * 130 + "a", "must not be more than 255 characters"),
        ("a//b", "invalid repository name"),
        ("a b", "invalid repository name"),
    ],
)
def test_what_is_no_reference_is_told_why(text, reason):
    with pytest.raises(InvalidReferenceError, match=reason) as caught:
        parse(text)
    assert caught.value.help


@given(st.text(alphabet="aZ0.:/@-_[]\n ", max_size=40))
def test_any_text_is_a_reference_or_an_error_and_normal_forms_are_stable(text):
    try:
        ref = parse(text)
    except InvalidReferenceError:
        return
    assert parse(str(ref)) == ref
    assert parse(ref.familiar) == ref


@pytest.mark.parametrize(
    ("platform", "order"),
    [
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/armhf/", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8", ["linux/arm64", *(f"linux/arm/v{n}" for n in (8, 7, 6, 5))]),
    ],
)
def test_platforms_fall_back_in_order(platform, order):
    os, arch, variant = [*platform.split("/"), ""][:3]
    assert [
        platforms.format(p) for p in fallbacks(Platform(os=os, architecture=arch, variant=variant))
    ] == order


def test_the_best_platform_wins_and_attestations_never():
    def entry(name, **platform):
        return Descriptor(media_type=INDEX, digest=name, size=1, platform=Platform(**platform))

    entries = [
        entry("att", os="unknown", architecture="unknown"),
        entry("386", os="linux", architecture="386"),
        entry("v2", os="linux", architecture="amd64", variant="v2"),
        entry("v1", os="linux", architecture="amd64"),
    ]
    assert choose(entries, Platform(os="linux", architecture="amd64")).digest == "v1"
    assert choose(entries, Platform(os="linux", architecture="amd64", variant="v4")).digest == "v2"
    assert choose(entries[:2], Platform(os="linux", architecture="amd64")).digest == "386"
    assert choose(entries, Platform(os="linux", architecture="s390x")) is None


def test_an_index_and_a_build_spell_platforms_by_the_same_rules() -> None:
    entry = Descriptor(
        media_type=INDEX, digest="one", size=1, platform=Platform(os="", architecture="AArch64", variant="8")
    )
    assert choose([entry], platforms.parse("linux/arm64")) is entry
    assert choose([entry], platforms.parse("linux/amd64")) is None


def test_index_manifest_with_features_suits_platforms_that_have_them() -> None:
    """containerd's rule; the Windows kernel of every Windows image is no special feature."""
    special = Platform(os="linux", architecture="amd64", os_features=("a", "b"))
    windows = Platform(os="windows", architecture="amd64", os_features=("win32k",))
    entries = [
        Descriptor(media_type=INDEX, digest=name, size=1, platform=platform)
        for name, platform in (("special", special), ("windows", windows))
    ]
    assert choose(entries, Platform(os="linux", architecture="amd64")) is None
    assert choose(entries, Platform(os="linux", architecture="amd64", os_features=("b",))) is None
    assert choose(entries, special).digest == "special"
    assert choose(entries, Platform(os="windows", architecture="amd64")).digest == "windows"
