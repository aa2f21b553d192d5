# SPDX-License-Identifier: Apache-2.0
"""Every character of every word knows its place, and so does every variable."""

from __future__ import annotations

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from llbkit.frontends.dockerfile.program.reading import chomp
from llbkit.frontends.dockerfile.program.words import Expansion, WordError, expand, references
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.frontends.dockerfile.syntax.words import Word, where
from llbkit.grammar import Source

PLAIN = st.text(st.sampled_from("ab$'{}:-é€/"), min_size=1, max_size=8)
ANY = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=8)
PIECES = st.sampled_from(
    ["a", "$b", "${c}", "${d:-$e}", "'$f'", '"$g"', "\\$h", "${i/j/$k}", "é", "${l", "$"]
)


def words(text: str) -> tuple[Word, ...]:
    return parse(Source("Dockerfile", text)).nodes[0].words


@given(st.lists(PLAIN, min_size=1, max_size=4))
def test_characters_of_continued_words(parts: list[str]) -> None:
    (word,) = words("USER x" + "\\\n".join(parts) + "\n")
    assert word == "x" + "".join(parts)
    assert "".join(word.range_span(at, at + 1).text for at in range(len(word))) == word


@given(st.lists(ANY, min_size=1, max_size=3))
def test_characters_of_json(items: list[str]) -> None:
    found = words(f"CMD {json.dumps(items)}\n")
    assert list(found) == items
    for word in found:
        assert json.loads(word.span.text) == word
        written = [word.range_span(at, at + 1).text for at in range(len(word))]
        assert [json.loads(f'"{one}"') for one in written] == list(word)


@given(st.lists(st.text(st.sampled_from("\tab "), max_size=5), max_size=4))
def test_characters_of_a_chomped_heredoc(lines: list[str]) -> None:
    body = "".join(f"{line}\n" for line in lines)
    heredoc = parse(Source("Dockerfile", f"RUN <<-E\n{body}\tE\n")).nodes[0].heredocs[0]
    chomped = chomp(heredoc.content)
    assert isinstance(chomped, Word)
    assert "".join(chomped.range_span(at, at + 1).text for at in range(len(chomped))) == chomped
    assert (heredoc.content, heredoc.mark.span.text, heredoc.closing.text) == (body, "<<-E", "\tE")


@given(st.lists(PIECES, max_size=6))
def test_references_are_what_expansion_looks_up(parts: list[str]) -> None:
    word = "".join(parts)
    found = references(word)
    for name, start, end in found:
        assert word[start:end].startswith((f"${name}", f"${{{name}"))
    seen = Expansion()
    try:
        expand(word, {}, seen=seen)
    except WordError:
        assert seen.unmatched <= {one.name for one in found}
    else:
        assert seen.unmatched == {one.name for one in found}


def test_parts_know_their_place_and_pickle_as_text() -> None:
    node = parse(Source("Dockerfile", 'COPY --from="a b" \\\n  "[x" y\n')).nodes[0]
    value = node.flags[0].part(7)
    assert (value, value.span.text, value.range_span(2, 3).text) == ("a b", "a b", "b")
    assert node.words[1].part(0, 0).span.text == "y"
    assert where(node.words[0]) == node.words[0].span
    assert where("plain") is None
    again = pickle.loads(pickle.dumps(value))
    assert (again, type(again)) == ("a b", str)
    source = parse(Source("Dockerfile", "VOLUME  a\n")).nodes[0].words[0]
    assert source.stripped("a").span == source.span
