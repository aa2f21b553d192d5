# SPDX-License-Identifier: Apache-2.0
"""Loading grammars, lifting trees, explaining syntax errors."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from llbkit.grammar import DiagnosticError, Source, loader
from llbkit.grammar.lift import Leaf, Lifter, rule_name
from llbkit.grammar.recover import Syntax

SUMS = """
start: sum
sum: NUMBER ("+" NUMBER)*
   | "let" NAME "=" NUMBER
NUMBER: /[0-9]+/
NAME: /[a-z]+/
%ignore " "
"""


@dataclass(frozen=True)
class Sum:
    first: Leaf
    parts: tuple[Leaf, ...]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sums.lark").write_text(SUMS)
    monkeypatch.setattr(loader, "_FOLDER", tmp_path)
    monkeypatch.setattr(loader, "_loaded", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def tables(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "llbkit" / "grammar").iterdir())


def reload(monkeypatch: pytest.MonkeyPatch) -> loader.Grammar:
    monkeypatch.setattr(loader, "_loaded", {})
    return loader.load("sums")


def test_a_grammar_is_loaded_once(folder: Path) -> None:
    assert loader.load("sums") is loader.load("sums")


def test_tables_are_read_back_instead_of_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load("sums")
    assert len(tables(folder)) == 1

    def fail(text: str, lexer: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(loader, "_build", fail)
    assert Lifter((Sum,)).lift(reload(monkeypatch).parse("1 + 2"))


def test_a_changed_grammar_does_not_use_old_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load("sums")
    (folder / "sums.lark").write_text(SUMS.replace('"+"', '"-"'))
    reload(monkeypatch).parse("1 - 2")
    assert len(tables(folder)) == 2


@pytest.mark.parametrize("damage", [b"", b"x" * 40, b"\0"])
def test_damaged_tables_are_rebuilt(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    loader.load("sums")
    (path,) = tables(folder)
    good = path.read_bytes()
    path.write_bytes(good[:-10] + damage if damage == b"\0" else damage)
    reload(monkeypatch).parse("1 + 2")
    assert path.read_bytes()[:32] != damage[:32]
    assert len(path.read_bytes()) > 100


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cache").write_text("a file where a directory should be")
    loader.load("sums").parse("1 + 2")


def test_no_home_directory_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(loader, "cache_directory", homeless)
    loader.load("sums").parse("1 + 2")


def test_threads_get_the_same_grammar(folder: Path) -> None:
    found: list[loader.Grammar] = []
    threads = [threading.Thread(target=lambda: found.append(loader.load("sums"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(grammar) for grammar in found}) == 1


def test_rules_become_dataclasses_by_name(folder: Path) -> None:
    (value,) = Lifter((Sum,)).lift(loader.load("sums").parse("12 + 3"))
    assert value == Sum(Leaf("NUMBER", "12", 0, 2), (Leaf("NUMBER", "3", 5, 6),))


def test_class_names_become_rule_names() -> None:
    assert [rule_name(name) for name in ("Sum", "KeyValue", "_Word")] == ["sum", "key_value", "word"]


def syntax() -> Syntax:
    return Syntax(
        loader.load("sums"),
        code="sum",
        mistakes={"a number is missing after +": ["1 +", "1 + 2 +"]},
        names={"NUMBER": "a number"},
        words=("let",),
    )


def test_a_known_mistake_gets_its_message(folder: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        syntax().parse(Source("s", "1 + "))
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("sum", "a number is missing after +")
    assert found.help == "expected a number"
    assert found.span is not None
    assert (found.span.start, found.span.end) == (4, 4)


def test_an_unexpected_word_is_compared_with_known_ones(folder: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        syntax().parse(Source("s", "lat x = 1"))
    (found,) = caught.value.diagnostics
    assert "did you mean let?" in found.message
    assert found.span is not None
    assert found.span.text == "lat"


def test_what_was_expected_is_listed(folder: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        syntax().parse(Source("s", "1 2"))
    (found,) = caught.value.diagnostics
    assert found.message == "unexpected '2'"
    assert found.help == "expected '+' or end of input"
    assert "^" in found.render()
