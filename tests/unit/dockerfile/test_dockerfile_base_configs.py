# SPDX-License-Identifier: Apache-2.0
"""Configs of base images: what is missing is empty, what has the wrong type is told."""

from __future__ import annotations

import json

import pytest

from frontends.dockerfile.image import Image


def read(**config) -> Image:
    return Image.read(json.dumps({"os": "linux", "config": config}).encode())


def test_null_and_missing_members_are_empty() -> None:
    image = Image.read(b'{"config": null, "rootfs": null, "history": null}')
    assert (image.config.env, image.config.user, image.diff_ids, image.history) == ([], "", None, [])
    config = read(Env=None, Labels={"a": None}, Volumes={"/v": {}}, Healthcheck={"Test": ["NONE"]}).config
    assert (config.env, config.labels, config.volumes) == ([], {"a": ""}, {"/v"})
    assert config.healthcheck is not None
    assert config.healthcheck.test == ("NONE",)


@pytest.mark.parametrize(
    ("config", "member"),
    [
        ({"Env": "PATH=/bin"}, "config.Env"),
        ({"Env": [1]}, "config.Env"),
        ({"Cmd": {"a": "b"}}, "config.Cmd"),
        ({"User": 0}, "config.User"),
        ({"Labels": {"a": 1}}, "config.Labels"),
        ({"Labels": ["a"]}, "config.Labels"),
        ({"ExposedPorts": ["80"]}, "config.ExposedPorts"),
        ({"ArgsEscaped": "yes"}, "config.ArgsEscaped"),
        ({"Healthcheck": []}, "config.Healthcheck"),
        ({"Healthcheck": {"Interval": "1s"}}, "config.Healthcheck.Interval"),
        ({"Healthcheck": {"Retries": True}}, "config.Healthcheck.Retries"),
    ],
)
def test_a_member_of_the_wrong_type_is_named(config, member) -> None:
    with pytest.raises(ValueError, match=rf"^{member} must be "):
        read(**config)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"history": [1]}', b'{"config": 1}']
)
def test_what_is_no_config_is_refused(data) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Image.read(data)
