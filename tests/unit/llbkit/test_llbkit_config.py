# SPDX-License-Identifier: Apache-2.0
"""Settings: precedence, and clear refusals."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from llbkit import config
from llbkit.cli.main import cli


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.delenv("LLBKIT_ROOT", raising=False)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("LLBKIT_CONFIG", str(path))

    def writer(text: str) -> Path:
        path.write_text(text)
        return path

    return writer


def test_command_line_beats_environment_beats_file(write, monkeypatch) -> None:
    write('root = "/from/file"\nruntime = "runc"\n')
    assert config.load().root == Path("/from/file")
    monkeypatch.setenv("LLBKIT_ROOT", "/from/env")
    monkeypatch.setenv("LLBKIT_RUNTIME", "crun")
    assert config.load().root == Path("/from/env")
    assert config.load().runtime == "crun"
    assert config.load(root=Path("/from/flag")).root == Path("/from/flag")


def test_registries_and_parallelism_are_read(write) -> None:
    write('[parallel]\nexec = 3\n[registry."docker.io"]\nmirrors = ["127.0.0.1:5000"]\nhttp = true\n')
    settings = config.load()
    assert settings.parallel["exec"] == 3
    assert settings.registries["docker.io"] == config.RegistrySettings(mirrors=("127.0.0.1:5000",), http=True)


@pytest.mark.parametrize(
    "text",
    ["rot = 1", "root = 1", "[parallel]\ngpu = 1", "not toml", '[registry.a]\nmirror = "x"', "registry = 1"],
)
def test_what_cannot_be_used_is_refused(write, text: str) -> None:
    write(text)
    with pytest.raises(config.ConfigError):
        config.load()


def test_a_named_file_must_exist(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LLBKIT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(config.ConfigError):
        config.load()


def test_what_is_shown_can_be_read_back(write, tmp_path, monkeypatch) -> None:
    """`config show` prints a file that gives the settings in force, and says where each comes from."""
    path = write(
        'runtime = "runc"\n[parallel]\nexec = 3\n[registry."a:5000"]\nca = "/a \\"b\\""\nhttp = true\n'
    )
    monkeypatch.setenv("LLBKIT_PASSES", "off")
    before = config.load(root=Path("/state"))
    shown = CliRunner().invoke(cli, ["--root", "/state", "config", "show"]).output
    assert f'runtime = "runc"  # from {path}' in shown
    assert 'passes = "off"  # from LLBKIT_PASSES' in shown
    assert 'root = "/state"  # from --root' in shown
    (tmp_path / "again.toml").write_text(shown)
    monkeypatch.setenv("LLBKIT_CONFIG", str(tmp_path / "again.toml"))
    monkeypatch.delenv("LLBKIT_PASSES")
    assert config.load() == before


def test_every_setting_is_explained() -> None:
    said = CliRunner().invoke(cli, ["config", "explain"]).output
    names = [one.name for one in fields(config.Settings) if one.name != "registries"]
    names += ["registry", *(f"registry.{one.name}" for one in fields(config.RegistrySettings))]
    assert sorted(line for line in said.splitlines() if not line.startswith(" ")) == sorted(names)
