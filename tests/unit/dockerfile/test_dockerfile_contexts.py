# SPDX-License-Identifier: Apache-2.0
"""Contexts as the newest BuildKit takes them: named ones of every kind, and main contexts that come from elsewhere."""

from __future__ import annotations

import asyncio
import io
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.conformance.dockerfile_vectors import RecordedBridge
from llbkit.frontends.dockerfile.frontend import DockerfileFrontend
from llbkit.frontends.kit.inputs.archive import HEAD, is_archive
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.grammar import DiagnosticError
from llbkit.llb.ir.ops import Copy, File
from llbkit.llb.ir.ops import Source as SourceOp
from tests.unit.dockerfile.test_dockerfile_as_buildkit import IMAGES, bridge_of, lower, message

D = "sha256:" + "5" * 64


def source_ops(text: str, **attrs: str) -> list[tuple[SourceOp, str]]:
    """Return the sources of a build with their names."""
    graph = lower(text, **attrs).state.graph()
    return [
        (vertex.op, graph.metadata_of(vertex.digest).description["llb.customname"])
        for vertex in graph
        if isinstance(vertex.op, SourceOp)
    ]


@pytest.mark.parametrize(
    "address", ["https://h.test/n.txt", "http://h.test", "http:foo", "https://h.test/a.git/"]
)
def test_a_named_context_by_http_is_a_file_named_context(address: str) -> None:
    bridge = bridge_of("FROM scratch\nCOPY --from=q context /\n", **{"context:q": address})
    (found,) = asyncio.run(DockerfileFrontend().convert(bridge))
    graph = found.state.graph()
    op = graph.vertices[0].op
    assert isinstance(op, SourceOp)
    assert (op.identifier, op.attrs) == (address, {"http.filename": "context"})
    name = graph.metadata_of(graph.vertices[0].digest).description["llb.customname"]
    assert name == f"[context q] {address}"
    assert bridge.calls == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ssh://h.test/a", "unsupported context source ssh for q"),
        ("HTTPS://h.test/a", "unsupported context source HTTPS for q"),
        ("git:x", "invalid git context git:x"),
        ("local", "invalid context specifier local for q"),
        ("input://base-input", "invalid input //base-input for q"),
        (
            "oci-layout://",
            'could not parse oci-layout reference "": repository name must have at least one component',
        ),
        ("oci-layout://St", 'could not parse oci-layout reference "St": repository name must be lowercase'),
        ("oci-layout://a b", 'could not parse oci-layout reference "a b": invalid reference format'),
        ("oci-layout://st", 'oci-layout reference "st" has no digest'),
        ("oci-layout:st:tag", 'oci-layout reference "st:tag" has no digest'),
        (
            f"oci-layout://st@sha256:{'A' * 64}",
            f'could not parse oci-layout reference "st@sha256:{"A" * 64}": invalid checksum digest format',
        ),
        (
            f"oci-layout://{'a' * 256}",
            f'could not parse oci-layout reference "{"a" * 256}": repository name must not be more than 255 characters',
        ),
    ],
)
def test_specifiers_that_cannot_be_used_are_refused(value: str, text: str) -> None:
    assert message("FROM q\n", **{"context:q": value}) == text


@pytest.mark.parametrize(
    ("name", "specifier", "store", "asked"),
    [
        ("base:2", f"//h:5000/st:rc@{D}", "h:5000/st", f"docker.io/library/base:2@{D}"),
        ("base", f"//st:rc@{D}", "st", f"docker.io/library/base@{D}"),
        ("base", f"st@{D}", "st", f"docker.io/library/base@{D}"),
        ("h.test/b", f"//a/b_c/d@{D}", "a/b_c/d", f"h.test/b@{D}"),
    ],
)
def test_a_layout_is_asked_for_by_the_name_of_its_context(
    name: str, specifier: str, store: str, asked: str
) -> None:
    images = {**IMAGES, "oci_layout": {store: next(iter(IMAGES["oci_layout"].values()))}}
    bridge = bridge_of(f"FROM {name}\n", images, **{f"context:{name}": f"oci-layout:{specifier}"})
    (found,) = asyncio.run(DockerfileFrontend().convert(bridge))
    ((call),) = bridge.calls
    assert (call["ref"], call["oci_store"], call["oci_session"]) == (asked, store, "vector-session")
    op = found.state.graph().vertices[0].op
    assert isinstance(op, SourceOp)
    assert op.identifier == f"oci-layout://{asked}"
    assert op.attrs == {"oci.session": "vector-session", "oci.store": store}


def _local_hints(**attrs: str) -> list[str]:
    hints: list[str] = []

    class Bridge(RecordedBridge):
        async def solve(self, request: Any) -> Any:
            op = request.definition.graph().vertices[0].op
            hints.append(op.attrs["local.sharedkeyhint"])
            return await super().solve(request)

    bridge = Bridge({"dockerfile": "FROM q\n", "frontend_attrs": attrs}, IMAGES)
    (found,) = asyncio.run(DockerfileFrontend().convert(bridge))
    op = found.state.graph().vertices[0].op
    assert isinstance(op, SourceOp)
    return [hint for hint in hints if hint.startswith("context:")] + [op.attrs["local.sharedkeyhint"]]


@pytest.mark.parametrize("key", ["q", "q::linux/amd64"])
def test_a_local_context_is_shared_by_its_name_with_the_platform(key: str) -> None:
    attrs = {f"context:{key}": "local:dir"}
    assert _local_hints(**attrs) == [f"context:{key}-.dockerignore", f"context:{key}-"]
    attrs[f"sharedkey:localdir:{key}"] = "/src"
    assert _local_hints(**attrs) == [f"context:{key}-.dockerignore", f"context:{key}-/src"]


LONG = "x" * 65536


@pytest.mark.parametrize(
    ("options", "attrs", "name"),
    [
        ({"dockerignore": LONG}, {}, ".dockerignore"),
        ({"dockerfile_dockerignore": LONG}, {}, "Dockerfile.dockerignore"),
        ({"dockerfile_dockerignore": LONG}, {"filename": "a/B"}, "a/B.dockerignore"),
        ({"context_dockerignores": {"dir": LONG}}, {"context:q": "local:dir"}, ".dockerignore"),
    ],
)
def test_an_ignore_file_that_cannot_be_read_is_named(
    options: dict[str, Any], attrs: dict[str, str], name: str
) -> None:
    case = {"dockerfile": "FROM scratch\nCOPY --from=q a /\nCOPY a /\n", "options": options}
    case["frontend_attrs"] = {"context:q": "local:other", **attrs}
    with pytest.raises(DiagnosticError) as caught:
        asyncio.run(DockerfileFrontend().convert(RecordedBridge(case, IMAGES)))
    assert caught.value.diagnostics[0].message == f"failed parsing {name}: bufio.Scanner: token too long"


@pytest.mark.parametrize(("subdir", "source"), [("", "/"), ("a", "/a"), ("/a/../b", "/b")])
def test_a_directory_of_a_context_is_copied_out_even_if_it_is_the_root(subdir: str, source: str) -> None:
    attrs = {"context": "https://h.test/a.git", "contextsubdir": subdir}
    graph = lower("FROM scratch\nCOPY a /\n", **attrs).state.graph()
    copies = [vertex.op.actions[0].action for vertex in graph if isinstance(vertex.op, File)]
    assert isinstance(copies[0], Copy)
    assert (copies[0].src, copies[0].dest) == (source, "/")
    assert len(copies) == 2


def test_a_file_without_a_name_is_no_dockerfile() -> None:
    assert message("FROM scratch\n", filename="") == "failed to read dockerfile: read /: is a directory"


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("/srv", "srv"),
        ("!/z", "!z"),
        ("//y", "y"),
        ("/", "/"),
        ("!//z/", "!z"),
        ("/a/../b", "b"),
        ("! /z", "!z"),
    ],
)
def test_the_reader_of_an_ignore_file_makes_patterns_relative(line: str, pattern: str) -> None:
    assert read_patterns(f"{line}\n") == [pattern]


# -- archives by HTTP


def _tar(*names: str, form: int = tarfile.USTAR_FORMAT, data: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _v7(header: bytes) -> bytes:
    """Return a header as V7 has it: nothing after the name of the link, with its checksum."""
    bare = header[:148] + b" " * 8 + header[156:257] + bytes(255)
    return bare[:148] + f"{sum(bare):06o}\0 ".encode() + bare[156:]


def _global(records: bytes) -> bytes:
    member = tarfile.TarInfo("pax_global_header")
    member.type, member.size = b"g", len(records)
    return member.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")


USTAR = _tar("Dockerfile")


@pytest.mark.parametrize(
    ("head", "archive"),
    [
        (b"BZh91AY", True),
        (b"\x1f\x8b\x08\0", True),
        (b"\xfd7zXZ\0", True),
        (b"\x28\xb5\x2f\xfd", False),
        (b"FROM scratch\n", False),
        (b"", False),
        (USTAR, True),
        (USTAR[:512], True),
        (USTAR[:511], False),
        (_v7(USTAR[:512]), True),
        (USTAR.replace(b"ustar\0", b"ustar\1", 1), False),
        (_tar("Dockerfile", form=tarfile.GNU_FORMAT), True),
        (_tar("Dockerfile", form=tarfile.PAX_FORMAT), True),
        (_tar("é" * 90, form=tarfile.PAX_FORMAT), False),
        (_tar("x" * 101, form=tarfile.GNU_FORMAT), False),
        (bytes(1024), False),
        (_global(b"52 comment=0123456789abcdef0123456789abcdef01234567\n"), True),
        (_global(b"53 comment=0123456789abcdef0123456789abcdef01234567\n"), False),
        (_global(b"no records"), False),
    ],
)
def test_archives_are_known_by_their_first_bytes(head: bytes, archive: bool) -> None:
    assert is_archive(head[:HEAD]) is archive


@given(
    st.binary(max_size=HEAD)
    | st.builds(
        lambda at, byte: USTAR[:at] + byte + USTAR[at + 1 :],
        st.integers(0, 511),
        st.binary(min_size=1, max_size=1),
    )
)
def test_any_bytes_are_told_apart(head: bytes) -> None:
    assert is_archive(head) in (True, False)


@pytest.mark.parametrize("octal", ["/", "8", "-1", "0o7", "1_0"])
def test_numbers_that_are_not_octal_make_no_member(octal: str) -> None:
    spaced = USTAR[:116] + octal.encode().ljust(8, b"\0") + USTAR[124:148] + b" " * 8 + USTAR[156:512]
    assert not is_archive(spaced[:148] + f"{sum(spaced):06o}\0 ".encode() + spaced[156:])


@pytest.mark.parametrize(("content", "unpacked"), [(USTAR, True), (b"\x28\xb5\x2f\xfd", False)])
def test_an_archive_as_main_context_is_unpacked_and_else_it_is_the_dockerfile(
    content: bytes, unpacked: bool
) -> None:
    from base64 import b64encode

    case = {
        "dockerfile": "FROM scratch\nCOPY a /\n",
        "options": {"http_context_file_b64": b64encode(content).decode()},
        "frontend_attrs": {"context": "https://h.test/c"},
    }
    bridge = RecordedBridge(case, IMAGES)
    if not unpacked:
        with pytest.raises(DiagnosticError):
            asyncio.run(DockerfileFrontend().convert(bridge))
        return
    (found,) = asyncio.run(DockerfileFrontend().convert(bridge))
    action = next(v.op for v in found.state.graph() if isinstance(v.op, File)).actions[0].action
    assert isinstance(action, Copy)
    assert (action.src, action.dest, action.attempt_unpack) == ("/context", "/", True)
