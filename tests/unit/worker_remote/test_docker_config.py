# SPDX-License-Identifier: Apache-2.0
"""Docker's configuration file, of whatever shape: credentials, proxies, or an error that names the file."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llbkit.worker.base import SourceError
from llbkit.worker.registry.dockerconfig import ANONYMOUS, Credentials, DockerConfig

HOST = "r.example"
ODD = [
    None,
    5,
    "x",
    [],
    {},
    [[]],
    {"a": 5},
    {HOST: None},
    {HOST: 5},
    {HOST: "x"},
    {HOST: []},
    {HOST: {"auth": 5}},
]
ODD += [{HOST: {"auth": "%%%"}}, {HOST: {"auth": "\ud800"}}, {HOST: {"username": "\ud800"}}]
ODD += [
    {HOST: {"auth": base64.b64encode(b"\xff\xfe").decode()}},
    {HOST: {"identitytoken": ["x"]}},
    {"": {"": ""}},
]
ODD += [{"default": 5}, {"default": {"httpProxy": 5}}, {"default": {"noProxy": ["a"]}}, {"default": None}]


def asked(path) -> None:
    """Ask for all that the file may hold: an answer or a SourceError that names the file or the helper."""
    for ask in (lambda: DockerConfig(path).credentials(HOST), lambda: DockerConfig(path).proxies()):
        said = ""
        try:
            ask()
        except SourceError as error:
            said = f"{error}\n{error.help}"
        assert not said or str(path) in said or "docker-credential-" in said
        assert not said.endswith("\n")


@pytest.mark.parametrize("key", ["auths", "credHelpers", "credsStore", "proxies"])
@pytest.mark.parametrize("value", ODD)
def test_a_file_of_the_wrong_shape_is_an_error_with_its_name(tmp_path, key, value):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value}))
    asked(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"5", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"a":1e999}'],
)
def test_a_file_that_is_no_object_is_an_error_with_its_name(tmp_path, data):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    asked(path)
    if data != b'{"a":1e999}':
        with pytest.raises(SourceError, match=str(path)):
            DockerConfig(path).credentials(HOST)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([HOST, "default", "auth", "username", "httpProxy", "auths", "x"]),
            inner,
            max_size=3,
        )
    ),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("auths", "credHelpers", "proxies"), json_values)))
def test_any_json_is_an_answer_or_an_error(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("docker") / "config.json"
    path.write_text(json.dumps(table))
    asked(path)


def test_a_path_that_is_no_file(tmp_path):
    (tmp_path / "file").write_text("x")
    assert DockerConfig(tmp_path / "none").credentials(HOST) == ANONYMOUS
    assert DockerConfig(tmp_path / "file" / "config.json").credentials(HOST) == ANONYMOUS
    with pytest.raises(SourceError, match="directory"):
        DockerConfig(tmp_path).credentials(HOST)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo nonsense", "returned an invalid response"),
        ('echo \'{"Username": 5, "Secret": "x"}\'', "returned an invalid response"),
        ('echo \'{"Username": "\\ud800", "Secret": "x"}\'', "returned an invalid response"),
        ("echo broken >&2; exit 3", "broken"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_helper_that_fails_is_told(tmp_path, monkeypatch, script, said):
    helper = tmp_path / "docker-credential-own"
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "own"}')
    with pytest.raises(SourceError, match=said) as caught:
        DockerConfig(path).credentials(HOST)
    assert "docker-credential-own" in str(caught.value)


def test_a_helper_that_knows_nothing_is_no_error(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-own"
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain; exit 1\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "own", "auths": {HOST: {"username": "a", "password": "b"}}}))
    assert DockerConfig(path).credentials(HOST) == Credentials("a", "b")


def test_a_helper_is_a_name_and_no_path(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "x/../../../bin/sh"}')
    with pytest.raises(SourceError, match="not a valid credential helper name"):
        DockerConfig(path).credentials(HOST)


def test_proxies_are_those_of_the_daemon_or_the_default(tmp_path):
    path = tmp_path / "config.json"
    default = {
        "httpProxy": "http://a:1",
        "httpsProxy": "http://b:1",
        "noProxy": "x,y",
        "ftpProxy": "f",
        "allProxy": "",
    }
    path.write_text(json.dumps({"proxies": {"default": default, "tcp://h:1": {"httpProxy": "http://c:1"}}}))
    config = DockerConfig(path)
    assert config.proxies() == {
        "HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1", "NO_PROXY": "x,y", "FTP_PROXY": "f"
    }  # fmt: skip
    assert config.proxies("tcp://h:1") == {"HTTP_PROXY": "http://c:1"}
