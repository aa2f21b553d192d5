# SPDX-License-Identifier: Apache-2.0
"""Loading grammars, lifting trees, explaining syntax errors."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from llbkit.grammar import DiagnosticError, Source, loader
from llbkit.grammar.lift import Leaf, Lifter, rule_name
from llbkit.grammar.recover import Syntax
from llbkit.records import dataclass

PACKAGE = "sums_language"
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
    (tmp_path / f"{PACKAGE}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    monkeypatch.setattr(loader, "_loaded", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def tables(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "llbkit" / "grammar").iterdir())


def reload(monkeypatch: pytest.MonkeyPatch) -> loader.Grammar:
    monkeypatch.setattr(loader, "_loaded", {})
    return loader.load(PACKAGE, "sums")


def test_a_grammar_is_loaded_once(folder: Path) -> None:
    assert loader.load(PACKAGE, "sums") is loader.load(PACKAGE, "sums")


def test_tables_are_read_back_instead_of_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load(PACKAGE, "sums")
    assert len(tables(folder)) == 1

    def fail(*grammar: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(loader, "_build", fail)
    assert Lifter((Sum,)).lift(reload(monkeypatch).parse("1 + 2"))


def test_a_changed_grammar_does_not_use_old_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load(PACKAGE, "sums")
    (folder / "sums.lark").write_text(SUMS.replace('"+"', '"-"'))
    reload(monkeypatch).parse("1 - 2")
    assert len(tables(folder)) == 2


@pytest.mark.parametrize("damage", [b"", b"x" * 40, b"\0"])
def test_damaged_tables_are_rebuilt(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    loader.load(PACKAGE, "sums")
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
    loader.load(PACKAGE, "sums").parse("1 + 2")


def test_no_home_directory_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(loader, "cache_directory", homeless)
    loader.load(PACKAGE, "sums").parse("1 + 2")


def test_threads_get_the_same_grammar(folder: Path) -> None:
    found: list[loader.Grammar] = []
    threads = [threading.Thread(target=lambda: found.append(loader.load(PACKAGE, "sums"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(grammar) for grammar in found}) == 1


def test_rules_become_dataclasses_by_name(folder: Path) -> None:
    (value,) = Lifter((Sum,)).lift(loader.load(PACKAGE, "sums").parse("12 + 3"))
    assert value == Sum(Leaf("NUMBER", "12", 0, 2), (Leaf("NUMBER", "3", 5, 6),))


def test_class_names_become_rule_names() -> None:
    assert [rule_name(name) for name in ("Sum", "KeyValue", "_Word")] == ["sum", "key_value", "word"]


def syntax() -> Syntax:
    return Syntax(
        loader.load(PACKAGE, "sums"),
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


def test_a_grammar_imports_from_its_package_and_from_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sums.lark").write_text(
        "start: (NAME | SIGN)*\n%import tokens.NAME\n%import signs (SIGN)\n%import common.WS\n%ignore WS\n"
    )
    (folder / "signs.lark").write_text('SIGN: "+"\n')
    loader.load(PACKAGE, "sums").parse("a + b")
    (folder / "signs.lark").write_text('SIGN: "-"\n')
    reload(monkeypatch).parse("a - b")
    assert len(tables(folder)) == 2


@pytest.mark.parametrize(
    ("grammar", "message", "line"),
    [
        ("start: word\nword: [", "invalid grammar: Expecting a value, at line 2", "word: ["),
        ("start: NAME\n", "invalid grammar: Rule 'NAME' used but not defined", None),
        ("%import nowhere.NAME\nstart: NAME\n", "cannot import from nowhere.lark", None),
        ("start: a | b\na: X\nb: X\nX: /x/\n", "Reduce/Reduce", None),
    ],
)
def test_a_wrong_grammar_is_a_diagnostic(folder: Path, grammar: str, message: str, line: str | None) -> None:
    (folder / "sums.lark").write_text(grammar)
    with pytest.raises(DiagnosticError) as caught:
        loader.load(PACKAGE, "sums")
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert (found.span.text if found.span else None) == line


def test_a_package_in_an_archive_has_grammars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "languages.zip", "w") as archive:
        archive.writestr("zipped_language/__init__.py", "")
        archive.writestr("zipped_language/sums.lark", SUMS)
    monkeypatch.syspath_prepend(str(tmp_path / "languages.zip"))
    loader.load("zipped_language", "sums").parse("1 + 2")


def test_a_missing_grammar_and_a_missing_package(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"products\.lark"):
        loader.load(PACKAGE, "products")
    with pytest.raises(ModuleNotFoundError):
        loader.load("no_such_language", "sums")
