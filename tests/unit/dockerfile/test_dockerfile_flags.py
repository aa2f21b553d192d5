# SPDX-License-Identifier: Apache-2.0
"""Errors in flags and mount options point at the option or value that is wrong, wherever in the source it stands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.dockerfile.syntax.words import byte_runes
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.golang.csv import CSVError, fields, texts
from llbkit.grammar import Source

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors"
IMAGES = json.loads((VECTORS / "images.json").read_text())


def fault(text: str, *, labs: bool = False) -> ProgramError:
    bridge = RecordedBridge({"dockerfile": text}, IMAGES)
    with pytest.raises(ProgramError) as caught:
        asyncio.run(DockerfileFrontend(labs=labs).convert(bridge))
    return caught.value


WRONG = [
    ("RUN --mount=type=cahce,target=/x y", "cahce", "valid types"),
    ("RUN --mount=type=cache,tagret=/x y", "tagret", "target"),
    ("RUN --mount=type=cache,target=/x,sharing=lokced y", "lokced", "locked"),
    ("RUN --mount=type=cache,target=/x,uid=me y", "me", "base 10"),
    ("RUN --mount=target=/x,mode=0755 y", "mode=0755", "type=secret, ssh or cache"),
    ("RUN --mount=target=/x,size=1m,type=tmpfs y", "size", "type= first"),
    ("RUN --mount=type=tmpfs,size=big,target=/x y", "big", "k, m or g"),
    ("RUN --mount=type=secret,id=a,source=b y", "source=b", "id=NAME only"),
    ("RUN --mount=type=secret,id=a,sharing=shared y", "sharing=shared", "type=cache"),
    ("RUN --mount=type=secret,from=busybox,id=a y", "from=busybox", "remove from="),
    ("RUN --mount=type=bind,from=busibox,target=/x y", "busibox", ""),
    ("COPY --from=busibox a /", "busibox", ""),
    ("FROM alpne", "alpne", ""),
    ("FROM Alpine", "Alpine", ""),
    ("FROM $NOTHING AS x", "$NOTHING", "--build-arg"),
    ("RUN --mount=type=secret y", "type=secret", "id=NAME"),
    ("RUN --mount=type=ssh,source=b y", "source=b", "id="),
    ("RUN --mount=type=bind,target=/ y", "target=/", "target=PATH"),
    ("RUN --mount=type=bind,tmpfs,target=/x y", "tmpfs", "tmpfs=value"),
    ("RUN --mount=type=bind,taget y", "taget", "write target=value"),
    ("RUN --mount=type=bind,from=$X,target=/x y", "$X", "alias"),
    ("RUN --mount=type=bind,target=${ y", "${", ""),
    ('RUN --mount=type=bind,tar"get=/x y', "", ""),
    ("RUN --mount='type=bind,tar\"get=/x' y", '"', "key=value"),
    ("RUN --mount=type=cache,'target=/x y',sharing=lokced z", "lokced", ""),
    ("RUN --mount=type=cache,target=\\/x,sharing=lok\\ced z", "lok\\ced", ""),
    ("RUN --mount=type=cache,\\\n  target=/x y", "", ""),
    ("RUN --mount=type=cache,target=/x \\\n  --mount=type=cahce,target=/y \\\n  z", "cahce", ""),
    ("RUN --mount=type=cache,tar\\\nget=/x,sha\\\nring=lokced z", "lokced", ""),
    ("RUN --network=hots y", "hots", "--network=host"),
    ("RUN --netwrok=host y", "--netwrok", "--network"),
    ("RUN --network y", "--network", "--network=value"),
    ("RUN --network=host --network=none y", "--network", "once"),
    ("RUN --security=insecur y", "insecur", "--security=insecure"),
    ("COPY --chmod=999 a /", "999", "755"),
    ("COPY --chmod=u+q a /", "u+q", "755"),
    ("COPY --link=perhaps a /", "perhaps", "true or false"),
    ("COPY --from=$X a /", "$X", "alias"),
    ("COPY --from=7 a /", "7", "numbered 0"),
    ("COPY --chown=${ a /", "${", ""),
    ("ADD --checksum=md4:1 http://x.invalid/a /", "md4:1", "HTTP"),
    ("ADD --checksum=sha256:1 a /", "sha256:1", "HTTP"),
    ("HEALTHCHECK --interval=5 CMD x", "5", "30s"),
    ("HEALTHCHECK --retries=many CMD x", "many", "number"),
    ("HEALTHCHECK --timeout=1us CMD x", "1us", ""),
]


@pytest.mark.parametrize(("line", "pointed", "advice"), [row for row in WRONG if row[1]])
def test_the_wrong_part_is_pointed_at(line: str, pointed: str, advice: str) -> None:
    error = fault(f"FROM alpine:3.20\n{line}\n")
    (span,) = error.diagnostics[0].spans
    assert span.text == pointed
    assert advice in error.diagnostics[0].help
    lines = line.count("\n") + 1
    told = [pair for place in error.locations for pair in place.lines]
    assert told in ([(n, n) for n in range(2, 2 + lines)], [])  # BuildKit has no place for some


@pytest.mark.parametrize("platform", ["linux/a/b/c", "$NONE", "plan9x"])
def test_a_wrong_platform_is_pointed_at(platform: str) -> None:
    assert fault(f"FROM --platform={platform} alpine:3.20 AS x\n").diagnostics[0].spans[0].text == platform


@pytest.mark.parametrize(
    ("value", "pointed"), [("a/b=c,requird", "requird"), ("required=q,a/b=c", "required=q")]
)
def test_a_wrong_device_is_pointed_at(value: str, pointed: str) -> None:
    assert (
        fault(f"FROM alpine:3.20\nRUN --device={value} x\n", labs=True).diagnostics[0].spans[0].text
        == pointed
    )


FLAG = st.text(st.sampled_from("ab='\"\\, \t$é"), max_size=12)


@given(FLAG)
def test_a_flag_is_made_of_the_characters_at_its_offsets(raw: str) -> None:
    for flag in parse(Source("Dockerfile", f"RUN --{raw}x y\n")).nodes[0].flags:
        spans = dict.fromkeys(flag.range_span(at, at + 1) for at in range(len(flag)))
        assert "".join(byte_runes(span.text) for span in spans) == flag
        assert all(flag.span.start <= span.start < span.end <= flag.span.end for span in spans)


@given(st.text(st.sampled_from('a=,"b é'), max_size=10))
def test_fields_tell_their_own_ranges(text: str) -> None:
    try:
        found = fields(text)
    except CSVError:
        return
    assert ",".join(text[field.start : field.end] for field in found) == text
    for field in found:
        if '""' not in text[field.start : field.end]:
            begin, end = field.value_range if field.value else field.key_range
            assert text[begin:end] == (field.value or field.key) or not field.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ('a"', 'parse error on line 1, column 2: bare " in non-quoted-field'),
        ('é,a="', 'parse error on line 1, column 6: bare " in non-quoted-field'),
        ('"a', 'parse error on line 1, column 2: extraneous or missing " in quoted-field'),
        ('"a""', 'parse error on line 1, column 5: extraneous or missing " in quoted-field'),
        ('b,"a"c', 'parse error on line 1, column 5: extraneous or missing " in quoted-field'),
    ],
)
def test_malformed_records_are_refused_in_the_words_of_go(text: str, message: str) -> None:
    with pytest.raises(CSVError) as caught:
        texts(text)
    assert str(caught.value) == message
