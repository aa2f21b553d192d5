# SPDX-License-Identifier: Apache-2.0
"""Bytes that are not UTF-8, and values that no number or address can hold: a result as BuildKit has it, or a diagnostic."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.lower import conversion
from llbkit.frontends.kit.image import Image
from llbkit.grammar import Diagnostic, DiagnosticError
from llbkit.llb import DefinitionError, scratch
from llbkit.llb.wire.encoding import encode

IMAGES = json.loads((Path(__file__).parents[3] / "conformance" / "vectors" / "images.json").read_text())
BAD = "\udcff"


def lower(text: str, attrs: dict[str, str] | None = None) -> bytes:
    """Lower and encode; return the image config."""
    bridge = RecordedBridge({"dockerfile": "FROM alpine\n" + text, "frontend_attrs": attrs or {}}, IMAGES)
    (one,) = asyncio.run(DockerfileFrontend(labs=True).convert(bridge))
    encode(one.state.graph(platform=one.target_platform))
    return one.image.encode()


def refusal(text: str, attrs: dict[str, str] | None = None) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        lower(text, attrs)
    return caught.value.diagnostics[0]


@pytest.mark.parametrize(
    "text",
    [
        f"RUN echo {BAD}",
        f'RUN ["echo", "{BAD}"]',
        f"RUN --mount=type=cache,target=/{BAD} true",
        f"RUN --device=a/{BAD} true",
        f"RUN <<E\n{BAD}\nE",
    ],
)
def test_a_byte_that_goes_into_the_graph_is_pointed_at(text: str) -> None:
    found = refusal(text)
    assert found.code == "utf-8"
    assert found.span is not None
    assert found.span.text == BAD
    assert "\\377" in found.help


@pytest.mark.parametrize(
    "text",
    [f"ENV A={BAD}", f"LABEL a={BAD}", f"USER {BAD}", f"CMD {BAD}", f"ARG A={BAD}", f'COPY ["{BAD}", "/"]'],
)
def test_elsewhere_a_byte_becomes_the_replacement_character(text: str) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in lower(text).decode()


def test_in_a_flag_a_byte_is_a_character_of_latin_1() -> None:
    bridge = RecordedBridge({"dockerfile": f"FROM scratch\nCOPY --exclude={BAD} a /\n"}, IMAGES)
    (one,) = asyncio.run(DockerfileFrontend().convert(bridge))
    assert "ÿ".encode() in encode(one.state.graph())


def test_documents_keep_their_bytes() -> None:
    bridge = RecordedBridge({"dockerfile": f"FROM scratch\nCOPY <<E /\n{BAD}\nE\n"}, IMAGES)
    (one,) = asyncio.run(DockerfileFrontend().convert(bridge))
    assert b"\xef\xbf\xbd\n" in encode(one.state.graph()), "an expanded document goes through the words"
    bridge = RecordedBridge({"dockerfile": f"FROM scratch\nCOPY <<'E' /\n{BAD}\nE\n"}, IMAGES)
    (one,) = asyncio.run(DockerfileFrontend().convert(bridge))
    assert b"\xff\n" in encode(one.state.graph())


@pytest.mark.parametrize("value", [BAD, "\ud800"])
def test_options_must_be_utf8(value: str) -> None:
    assert refusal("RUN a", {"build-arg:A": value}).code == "option"


def test_halves_of_surrogate_pairs_in_a_base_image_are_replaced() -> None:
    image = Image.read(b'{"config": {"Env": ["A=\\ud800"], "Labels": {"\\udfff": "x"}}}')
    assert image.config.env == ["A=\N{REPLACEMENT CHARACTER}"]
    assert image.config.labels == {"\N{REPLACEMENT CHARACTER}": "x"}


def test_a_graph_with_a_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(DefinitionError):
        scratch().mkdir(f"/{BAD}").graph()
    with pytest.raises(DefinitionError):
        encode(scratch().mkdir("/a", name=BAD).graph())


@pytest.mark.parametrize(
    "text",
    [
        "STOPSIGNAL " + "9" * 5000,
        "HEALTHCHECK --retries=" + "9" * 5000 + " CMD a",
        "HEALTHCHECK --interval=" + "9" * 5000 + "h CMD a",
        "RUN --mount=type=tmpfs,target=/a,size=" + "9" * 400 + " a",
        "RUN --mount=type=cache,target=/a,uid=" + "9" * 5000 + " a",
    ],
)
def test_numbers_that_do_not_fit_are_refused(text: str) -> None:
    assert refusal(text).help


def test_malformed_addresses_are_no_repositories() -> None:
    for address in ("http://[x", "https://[::1/a.git", "ssh://[a"):
        assert lower(f"ADD {address} /")


@pytest.mark.parametrize("line", ["ENV A=$A$A\n", "ARG A=$A$A\n", "ENV A=${A:-}${A:+$A}\n"])
def test_values_that_double_with_each_line_end_in_a_limit(line: str) -> None:
    assert "longer than" in refusal("ARG A=aaaaaaaa\n" + line * 60).message


def test_arguments_before_from_have_a_limit_too() -> None:
    bridge = RecordedBridge(
        {"dockerfile": "ARG A=aaaaaaaa\n" + "ARG A=$A$A\n" * 60 + "FROM alpine\n"}, IMAGES
    )
    with pytest.raises(DiagnosticError, match="longer than"):
        asyncio.run(DockerfileFrontend().convert(bridge))


def test_what_a_file_makes_of_its_variables_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MOST_TEXT", 1_000_000)
    text = f"ENV A={'a' * 10_000}\n" + "".join(f"ENV B{n}=$A$A\n" for n in range(60))
    found = refusal(text)
    assert found.code == "too-much"
    assert found.span is not None
