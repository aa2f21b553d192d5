# SPDX-License-Identifier: Apache-2.0
"""The files in each layer of an image, and the agreement of its history with its layers."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest


def layers_of(path: Path) -> tuple[list[list[str]], list[dict]]:
    """Return the names in each layer of an OCI archive, and its history."""
    names = []
    with tarfile.open(path) as archive:

        def load(digest: str) -> dict:
            return json.load(archive.extractfile("blobs/" + digest.replace(":", "/")))  # type: ignore[arg-type]

        top = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = load(top["manifests"][0]["digest"])
        for layer in manifest["layers"]:
            blob = archive.extractfile("blobs/" + layer["digest"].replace(":", "/"))
            with tarfile.open(fileobj=blob) as tar:
                names.append(tar.getnames())
        return names, load(manifest["config"]["digest"])["history"]


@pytest.mark.usefixtures("on_both_snapshotters")
def test_a_step_that_only_touches_files_adds_none(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base\nRUN mkdir /w && echo 1 >/w/a && ln /w/a /w/b && echo 2 >/w/c; touch -d @5 /w/*\n"
        "RUN chmod 755 /bin/busybox; chown -R 0:0 /bin /w; touch /w/new; rm /w/new\n"
        "RUN chmod 600 /w/c\n"
        "RUN test $(stat -c %h /w/a) = 2 || test $(stat -c %i /w/a) = $(stat -c %i /w/b)\n"
        "RUN cp -a /w /v && rm -r /w && mv /v /w; touch /w/d\n"
    )
    cli.build(folder, "-o", f"type=oci,dest={tmp_path}/a.tar")
    names, history = layers_of(tmp_path / "a.tar")
    assert names[2:] == [["w", "w/a", "w/b", "w/c"], [], ["w", "w/c"], [], ["w", "w/d"]]
    assert len(history) == len(names)


def test_the_same_linked_copy_is_a_layer_each_time(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base\nCOPY --link f /f\nRUN rm /f\nCOPY --link f /f\nCOPY --link f /f\nRUN cat /f\n", {"f": "x"}
    )
    cli.build(folder, "-o", f"type=oci,dest={tmp_path}/a.tar")
    names, history = layers_of(tmp_path / "a.tar")
    assert names[2:] == [["f"], [".wh.f"], ["f"], ["f"], []]
    assert [entry["created_by"].split()[0] for entry in history] == [
        "COPY",
        "RUN",
        "COPY",
        "RUN",
        "COPY",
        "COPY",
        "RUN",
    ]


def test_a_base_of_the_same_layers_and_another_config_is_the_same_to_steps(cli, project, tmp_path) -> None:
    layout = tmp_path / "layout"
    top = project("FROM base\nRUN cat /proc/sys/kernel/random/uuid > /id\n", base=False, name="top")
    found = set()
    for number in range(2):
        base = project(f"FROM base\nLABEL n={number}\n", name="bottom")
        cli.build(base, "-t", "base", "-o", f"type=oci,tar=false,dest={layout}")
        cli.build(top, "--build-context", f"base=oci-layout://{layout}:latest", "-o", tmp_path / "out")
        found.add((tmp_path / "out/id").read_text())
    assert len(found) == 1
