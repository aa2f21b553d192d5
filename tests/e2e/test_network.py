# SPDX-License-Identifier: Apache-2.0
"""Builds whose registry or file server is unreachable, stalls or redirects, and builds behind proxies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.proxy import proxy
from support.registry import registry as run_registry
from support.sockets import raw_server


def test_a_registry_that_is_not_there_is_told_in_words(cli, project) -> None:
    folder = project("FROM 127.0.0.1:1/x\n", base=False)
    said = cli.build(folder, code=1).stderr
    assert "127.0.0.1:1/x:latest: cannot connect to 127.0.0.1:1: connection refused" in said
    assert "Dockerfile:1" in said


def test_checks_are_made_without_the_registry(cli, project) -> None:
    lines = ["FROM 127.0.0.1:1/x AS Base", "WORKDIR app", "CMD run", "FROM scratch", "COPY --from=base $A /"]
    folder = project("\n".join(lines) + "\n", base=False)
    done = cli.run("build", "--check", folder, code=1)
    told = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert [line.split()[1] for line in told] == ["StageNameCasing", "WorkdirRelativePath", "UndefinedVar"]
    assert "cannot connect to 127.0.0.1:1" in done.stderr
    assert "note: checks skipped without the config of 127.0.0.1:1/x:latest" in done.stderr
    assert "InvalidBaseImagePlatform, JSONArgsRecommended" in done.stderr
    answer = json.loads(cli.run("build", "--call=lint,format=json", folder, code=1).stdout)
    assert len(answer["warnings"]) == 3
    built = cli.build(folder, code=1).stderr
    assert "StageNameCasing" in built
    assert "WorkdirRelativePath" not in built, "a build stops at the image, as before"


@pytest.mark.parametrize(
    "line", ["FROM {}/x", "FROM scratch\nADD http://{}/f /", "FROM scratch\nADD http://{}/r.git /"]
)
def test_an_interrupted_build_ends_at_once_whatever_server_it_waits_for(cli, project, line) -> None:
    asked = []

    def silent(connection, head, over):
        asked.append(head)
        over.wait()

    with raw_server(silent) as address:
        folder = project(line.format(address) + "\n", base=False)
        process = subprocess.Popen(
            cli.argv("build", "--progress=plain", folder),
            env=cli.env(),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        try:
            for _ in range(300):
                if asked:
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.1)
            assert asked
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 130
        assert "Traceback" not in said


def test_proxies_of_dockers_configuration_reach_the_steps_and_not_the_image(
    cli, project, tmp_path, read_image
) -> None:
    home = tmp_path / "docker"
    home.mkdir()
    cli.environment["DOCKER_CONFIG"] = str(home)
    table = {"proxies": {"default": {"httpProxy": "http://p.test:1", "noProxy": "n.test"}}}
    (home / "config.json").write_text(json.dumps(table))
    folder = project("FROM base\nRUN env > /seen\n")
    cli.build(folder, "-o", f"type=oci,dest={tmp_path}/image.tar")
    image = read_image(tmp_path / "image.tar")
    seen = image.contents["seen"].decode().splitlines()
    assert {
        "HTTP_PROXY=http://p.test:1",
        "http_proxy=http://p.test:1",
        "NO_PROXY=n.test",
        "no_proxy=n.test",
    } <= set(seen)
    assert "p.test" not in json.dumps(image.config)
    cli.build(folder, "--build-arg", "HTTP_PROXY=http://q.test:1", "-o", tmp_path / "out", "--no-cache")
    assert "http_proxy=http://q.test:1" in (tmp_path / "out" / "seen").read_text().splitlines()
    (home / "config.json").write_text('{"proxies": 5}')
    said = cli.build(folder, "-o", tmp_path / "again").stderr
    assert "warning" in said
    assert str(home / "config.json") in said


def test_a_build_behind_a_proxy(cli, project, tmp_path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('[registry."registry.test:5000"]\nhttp = true\n')
    cli.environment["LLBKIT_CONFIG"] = str(settings)
    with run_registry(tmp_path / "registry") as host, proxy({"registry.test:5000": host}) as through:
        cli.environment |= {"HTTP_PROXY": f"http://{through.address}", "NO_PROXY": "", "no_proxy": ""}
        cli.build(project("FROM base\nRUN echo x > /x\n"), "-t", "registry.test:5000/app:1", "--push")
        other = type(cli)(tmp_path / "other", cli.environment)
        other.build(
            project("FROM registry.test:5000/app:1\n", base=False, name="second"), "-o", tmp_path / "out"
        )
    assert (tmp_path / "out" / "x").read_text() == "x\n"
    assert any(
        line.startswith("PUT http://registry.test:5000/v2/app/blobs/uploads/") for line in through.seen
    )


@pytest.mark.parametrize("table", ["[]", '{"auths": []}', '{"auths": {"127.0.0.1:1": 5}}', "[" * 50000])
def test_a_docker_configuration_of_the_wrong_shape_is_no_internal_error(
    cli, project, tmp_path, table
) -> None:
    home = tmp_path / "docker"
    home.mkdir()
    (home / "config.json").write_text(table)
    cli.environment["DOCKER_CONFIG"] = str(home)
    with raw_server(
        lambda connection, head, over: connection.sendall(
            b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        )
    ) as address:
        (home / "config.json").write_text(table.replace("127.0.0.1:1", address))
        said = cli.build(project(f"FROM {address}/x\n", base=False), code=1).stderr
    assert "bug" not in said
    assert str(home / "config.json") in said
