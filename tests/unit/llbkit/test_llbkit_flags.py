# SPDX-License-Identifier: Apache-2.0
"""Flag values, outputs and contexts: accepted values, and the errors for the others."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from llbkit.cli import build
from llbkit.cli.flags import key_values, secret, ssh
from llbkit.request import context
from llbkit.request.csvflags import FlagError, boolean, fields, pairs, size
from llbkit.request.values import Output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=oci,dest=x.tar", Output(type="oci", dest="x.tar")),
        ("out", Output(type="local", dest="out")),
        ("-", Output(type="tar", dest="-")),
        ("type=tar", Output(type="tar", dest="-")),
        ("type=registry", Output(type="image", attrs={"push": "true", "store": "false"})),
        (
            'type=oci,dest=a,"annotation.note=b,c"',
            Output(type="oci", dest="a", attrs={"annotation.note": "b,c"}),
        ),
    ],
)
def test_an_output_is_read_as_buildx_reads_it(text: str, expected: Output) -> None:
    assert Output.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "type=floppy",
        "dest=x",
        "type=local",
        "type=image,dest=x",
        "type=oci,dest",
        "type=oci,dest=a,dest=b",
        "",
    ],
)
def test_a_wrong_output_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        Output.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048)]
)
def test_sizes_use_binary_units(text: str, expected: int) -> None:
    assert size("--x", text) == expected


@pytest.mark.parametrize("text", ["", "m", "1x", "1mm2"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        size("--x", text)


def test_booleans_are_spelt_as_in_go() -> None:
    assert boolean("f", "k", "") is True
    assert boolean("f", "k", "F") is False
    with pytest.raises(FlagError):
        boolean("f", "k", "yes")


def test_pairs_reject_what_is_no_pair() -> None:
    assert pairs("f", fields("f", "A=1,b"), bare=("b",)) == {"a": "1", "b": ""}
    with pytest.raises(FlagError):
        pairs("f", ["b"])
    with pytest.raises(FlagError):
        key_values("f", ["=x"])


def test_a_secret_comes_from_file_or_environment(tmp_path, monkeypatch) -> None:
    (tmp_path / "key").write_text("v")
    monkeypatch.setenv("TOKEN", "t")
    assert secret(f"id=k,src={tmp_path}/key") == ("k", ("file", f"{tmp_path}/key"))
    assert secret("id=TOKEN") == ("TOKEN", ("env", "TOKEN"))
    assert secret("id=k,env=TOKEN") == ("k", ("env", "TOKEN"))
    assert secret("type=env,id=TOKEN") == ("TOKEN", ("env", "TOKEN"))
    assert secret("id=k,src=/dev/null") == ("k", ("file", "/dev/null"))


@pytest.mark.parametrize(
    "text",
    ["src=", "id=k,src=/none", "id=k,src=/", "id=k,env=NOT_SET_ANYWHERE", "id=k,what=x", "id=k,type=db"],
)
def test_a_wrong_secret_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        secret(text)


def test_an_agent_needs_a_socket(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(FlagError):
        ssh("default")
    (tmp_path / "sock").touch()
    assert ssh(f"a={tmp_path}/sock") == ("a", (f"{tmp_path}/sock",))


def test_a_directory_is_context_and_home_of_the_dockerfile(tmp_path) -> None:
    found = context.resolve(str(tmp_path), None, {}, stdin=io.BytesIO(), scratch=tmp_path)
    assert found.locals == {"context": tmp_path, "dockerfile": tmp_path}
    assert found.options == {}


def test_the_dockerfile_may_lie_outside_the_context(tmp_path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "My.dockerfile").touch()
    found = context.resolve(
        str(inside), str(outside / "My.dockerfile"), {}, stdin=io.BytesIO(), scratch=tmp_path
    )
    assert found.locals == {"context": inside, "dockerfile": outside}
    assert found.options == {"filename": "My.dockerfile"}


def test_a_dockerfile_on_standard_input_has_an_empty_context(tmp_path) -> None:
    found = context.resolve("-", None, {}, stdin=io.BytesIO(b"FROM scratch\n"), scratch=tmp_path)
    assert (found.locals["dockerfile"] / "Dockerfile").read_bytes() == b"FROM scratch\n"
    assert list(found.locals["context"].iterdir()) == []


def test_an_archive_on_standard_input_is_the_context(tmp_path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("Dockerfile")
        member.size = 13
        archive.addfile(member, io.BytesIO(b"FROM scratch\n"))
    found = context.resolve("-", None, {}, stdin=io.BytesIO(data.getvalue()), scratch=tmp_path)
    assert (found.locals["stdin"] / "context").read_bytes() == data.getvalue()
    assert found.inputs.keys() == {"context", "dockerfile"}
    assert found.options == {}


@pytest.mark.parametrize(
    "where",
    [
        "https://example.test/x.git#main:sub",
        "git@example.test:a/b.git",
        "https://example.test/context.tar.gz",
    ],
)
def test_remote_contexts_stay_addresses(tmp_path, where: str) -> None:
    found = context.resolve(where, "sub/Dockerfile", {}, stdin=io.BytesIO(), scratch=tmp_path)
    assert found.options == {"context": where, "filename": "sub/Dockerfile"}
    assert found.locals == {}


def test_an_absolute_dockerfile_of_a_remote_context_is_a_local_one(tmp_path) -> None:
    (tmp_path / "My.dockerfile").touch()
    where, file = "https://example.test/x.git", str(tmp_path / "My.dockerfile")
    found = context.resolve(where, file, {}, stdin=io.BytesIO(), scratch=tmp_path)
    assert found.options == {"context": where, "filename": "My.dockerfile", "dockerfilekey": "dockerfile"}
    assert found.locals == {"dockerfile": tmp_path}


def test_a_dockerfile_in_lower_case_will_do(tmp_path) -> None:
    (tmp_path / "dockerfile").touch()
    found = context.resolve(
        str(tmp_path), str(tmp_path / "Dockerfile"), {}, stdin=io.BytesIO(), scratch=tmp_path
    )
    assert found.options == {"filename": "Dockerfile"}


def test_named_contexts_do_not_hide_the_main_one(tmp_path) -> None:
    (tmp_path / "other").mkdir()
    named = {"context": str(tmp_path / "other"), "dockerfile": str(tmp_path / "other")}
    found = context.resolve(str(tmp_path), None, named, stdin=io.BytesIO(), scratch=tmp_path)
    assert found.locals["context"] == found.locals["dockerfile"] == tmp_path
    assert found.options["context:context"] == "local:_context"


def test_named_contexts_of_every_kind(tmp_path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    entry = {"digest": "sha256:" + "1" * 64, "annotations": {"org.opencontainers.image.ref.name": "v1"}}
    (layout / "index.json").write_text(json.dumps({"manifests": [entry]}))
    named = {"dir": str(tmp_path), "img": "docker-image://alpine", "oci": f"oci-layout://{layout}:v1"}
    found = context.resolve(str(tmp_path), None, named, stdin=io.BytesIO(), scratch=tmp_path)
    assert found.options["context:dir"] == "local:dir"
    assert found.locals["dir"] == tmp_path
    assert found.options["context:img"] == "docker-image://alpine"
    assert found.options["context:oci"] == f"oci-layout://oci@sha256:{'1' * 64}"
    assert found.oci_stores == {"oci": layout}


def test_a_layout_is_named_after_its_context_without_tag_and_platform(tmp_path) -> None:
    layout, digest = tmp_path / "layout", "sha256:" + "1" * 64
    layout.mkdir()
    names = {"a:2": "a-2", "a/2": "a-2-2", "a-2": "a-2-3"}
    named = dict.fromkeys([*names, "b::linux/arm64"], f"oci-layout://{layout}@{digest}")
    found = context.resolve(str(tmp_path), None, named, stdin=io.BytesIO(), scratch=tmp_path)
    stores = [*names.values(), "b-linux-arm64"]
    assert list(found.oci_stores) == stores
    assert [found.options[f"context:{name}"] for name in named] == [
        f"oci-layout://{store}@{digest}" for store in stores
    ]


def test_a_directory_is_no_dockerfile_and_a_name_does_not_suggest_itself(tmp_path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    for name, text in (("dir", "is a directory"), ("gone", "does not exist")):
        with pytest.raises(FlagError, match=text) as caught:
            context.resolve(str(tmp_path), str(tmp_path / name), {}, stdin=io.BytesIO(), scratch=tmp_path)
        assert "did you mean" not in caught.value.help


def test_a_missing_path_suggests_its_neighbour(tmp_path) -> None:
    (tmp_path / "service").mkdir()
    with pytest.raises(FlagError) as caught:
        context.resolve(str(tmp_path / "servise"), None, {}, stdin=io.BytesIO(), scratch=tmp_path)
    assert str(tmp_path / "service") in caught.value.help


def test_an_empty_standard_input_is_refused(tmp_path) -> None:
    with pytest.raises(FlagError):
        context.resolve("-", None, {}, stdin=io.BytesIO(b" \n"), scratch=tmp_path)
    with pytest.raises(FlagError):
        context.resolve("-", "-", {}, stdin=io.BytesIO(), scratch=tmp_path)


def options_of(*words: str) -> dict[str, object]:
    """Return what ``build`` would be given, without building."""
    return build.command.make_context("build", list(words)).params


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        ("--push", "push", True),
        ("--push=true", "push", True),
        ("--push=false", "push", False),
        ("--pull=0", "pull", False),
        ("--no-cache=1", "no_cache", True),
        ("-q=f", "quiet", False),
    ],
)
def test_a_switch_may_have_a_value(word: str, name: str, expected: bool) -> None:
    values = options_of(word, "--build-arg", "--push=no", "somewhere")
    assert (values[name], values["where"], values["build_args"]) == (expected, "somewhere", ("--push=no",))


def test_a_switch_with_no_boolean_is_refused() -> None:
    with pytest.raises(FlagError, match="--push"):
        options_of("--push=maybe", ".")


def test_flags_of_docker_without_meaning_here_are_accepted_and_told(capsys) -> None:
    words = (
        "--rm",
        "--builder",
        "default",
        "--force-rm",
        "-m",
        "1g",
        "--cache-from",
        "type=gha",
        "-D",
        "dir",
    )
    assert options_of(*words)["where"] == "dir"
    told = capsys.readouterr().err
    assert [line.split()[1] for line in told.splitlines()] == [
        "--builder",
        "--force-rm",
        "--memory",
        "--cache-from",
    ]
    assert all("has no effect" in line for line in told.splitlines())


@pytest.mark.parametrize(
    "word",
    [
        "--provenance=false",
        "--sbom=0",
        "--attest=type=sbom,disabled=true",
        "--attest=type=provenance,disabled=1",
    ],
)
def test_attestations_may_be_off(word: str) -> None:
    assert options_of(word, ".")["where"] == "."


@pytest.mark.parametrize(
    "word",
    ["--provenance=true", "--provenance=mode=max", "--provenance=max", "--sbom=1", "--attest=type=sbom"],
)
def test_attestations_that_are_on_are_refused_not_forgotten(word: str) -> None:
    with pytest.raises(FlagError, match="not supported yet") as caught:
        options_of(word, ".")
    assert caught.value.help


def test_two_dockerfiles_are_refused(tmp_path) -> None:
    with pytest.raises(FlagError, match="ambiguous"):
        context.resolve("-", "x", {}, stdin=io.BytesIO(b"FROM scratch\n"), scratch=tmp_path)
