# SPDX-License-Identifier: Apache-2.0
"""Configs of base images: what is missing is empty, wrong types are reported."""

from __future__ import annotations

import json
import re

import pytest

from llbkit.frontends.kit.image import Image


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
    ("config", "message"),
    [
        ({"Env": "PATH=/bin"}, "string into Go struct field DockerOCIImage.config.Env of type []string"),
        ({"Env": ["A=1", {}]}, "object into DockerOCIImage.config.Env.1 of type string"),
        ({"User": 0}, "number into Go struct field DockerOCIImage.config.User of type string"),
        ({"Labels": {"a": 1}}, "number into Go struct field DockerOCIImage.config.Labels.a of type string"),
        (
            {"Labels": ["a"]},
            "array into Go struct field DockerOCIImage.config.Labels of type map[string]string",
        ),
        ({"ExposedPorts": {"80": 1}}, "number into DockerOCIImage.config.ExposedPorts.80 of type struct {}"),
        (
            {"ArgsEscaped": "yes"},
            "string into Go struct field DockerOCIImage.config.ArgsEscaped of type bool",
        ),
        (
            {"Healthcheck": []},
            "array into Go struct field DockerOCIImage.config.Healthcheck of type v1.HealthcheckConfig",
        ),
        (
            {"Healthcheck": {"Interval": 1.5}},
            "number 1.5 into Go struct field DockerOCIImage.config.Healthcheck.Interval of type time.Duration",
        ),
        (
            {"Healthcheck": {"Retries": 10**20}},
            f"number {10**20} into Go struct field DockerOCIImage.config.Healthcheck.Retries of type int",
        ),
        (
            {"Healthcheck": {"Retries": True}},
            "bool into Go struct field DockerOCIImage.config.Healthcheck.Retries of type int",
        ),
    ],
)
def test_a_member_of_the_wrong_type_is_told_of_in_the_words_of_go(config, message) -> None:
    with pytest.raises(ValueError, match=f"^json: cannot unmarshal {re.escape(message)}$"):
        read(**config)


def test_members_are_found_in_any_case_and_the_last_one_counts() -> None:
    image = Image.read(b'{"OS": "linux", "os": "windows", "CONFIG": {"env": ["A=1"]}}')
    assert (image.platform.os, image.config.env) == ("windows", ["A=1"])


def test_times_are_written_as_go_writes_them_and_others_refused() -> None:
    assert Image.read(b'{"created": "2020-01-02T03:04:05.600700Z"}').created == "2020-01-02T03:04:05.6007Z"
    assert Image.read(b'{"created": "2020-01-02T03:04:05.000+02:00"}').created == "2020-01-02T03:04:05+02:00"
    with pytest.raises(ValueError, match=r'^parsing time "yesterday" as '):
        Image.read(b'{"history": [{"created": "yesterday"}]}')


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"history": [1]}', b'{"config": 1}']
)
def test_what_is_no_config_is_refused(data) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Image.read(data)
