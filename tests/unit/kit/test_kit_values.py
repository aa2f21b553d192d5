# SPDX-License-Identifier: Apache-2.0
"""Values that any language writes: ports, modes, signals; common tokens of grammars."""

from __future__ import annotations

import re

import pytest

from llbkit.frontends.kit.values.modes import ModeError, read_mode
from llbkit.frontends.kit.values.ports import PortError, PortWord
from llbkit.frontends.kit.values.signals import is_signal, likely_signal
from llbkit.grammar import load


@pytest.mark.parametrize(
    ("text", "ports"),
    [("80", ["80/tcp"]), ("53/UDP", ["53/udp"]), ("127.0.0.1:8000-8001:80-81", ["80/tcp", "81/tcp"])],
)
def test_ports(text: str, ports: list[str]) -> None:
    assert PortWord.cut(text).container_ports() == ports


@pytest.mark.parametrize("text", ["", "web", "80/x", "9-8", "65536", "[::1:80", "1-2:1-3"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(PortError):
        PortWord.cut(text).container_ports()


def test_modes() -> None:
    assert [read_mode(text) for text in ("755", "u=rwX,go=rX", "")] == [0o755, "u=rwX,go=rX", None]


@pytest.mark.parametrize(("text", "symbolic"), [("888", False), ("10000", False), ("u~x", True)])
def test_what_is_no_mode(text: str, symbolic: bool) -> None:
    with pytest.raises(ModeError) as caught:
        read_mode(text)
    assert caught.value.symbolic is symbolic


def test_signals() -> None:
    assert [is_signal(text) for text in ("SIGTERM", "term", "15", "0", "SIGTEMR")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert likely_signal("SIGTEMR") == "SIGTERM"


@pytest.mark.parametrize(
    ("name", "matching", "other"),
    [
        ("NAME", ["a", "a-b.c", "_1"], ["1a", "", "a b"]),
        ("WORD", ["a", "./x", "a=b", "a#b"], ["#a", "a b", '"a"', ""]),
        ("STRING", ['"a b"', r'"a\"b"', '""'], ['"a', '"a\nb"', "a"]),
        ("LINE", ["echo a # b"], ["# a", "", "a\nb"]),
        ("NUMBER", ["0", "42"], ["-1", "a"]),
        ("COMMENT", ["# a", "#"], ["a"]),
        ("SPACE", [" \t"], ["\n", ""]),
        ("NEWLINE", ["\n", " \r\n\n"], [" ", ""]),
    ],
)
def test_common_tokens(
    name: str, matching: list[str], other: list[str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = f"language_of_{name.lower()}"
    (tmp_path / f"{language}.py").write_text("")
    (tmp_path / "one.lark").write_text(f"start: {name}\n%import tokens.{name}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (pattern,) = load(language, "one").terminals.values()
    assert [text for text in matching if not re.fullmatch(pattern, text)] == []
    assert [text for text in other if re.fullmatch(pattern, text)] == []
