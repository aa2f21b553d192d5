# SPDX-License-Identifier: Apache-2.0
"""Edits change what they say and nothing else, whatever bytes the text has; those that overlap are refused."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llbkit.grammar import Edit, Fix, OverlapError, Source, apply_edits, fitting

DATA = st.lists(
    st.sampled_from([b"a", b"RUN x", b"\r\n", b"\n", b"\xff\xfe", "é€".encode(), b"\t", b"\0"]), max_size=12
)


@st.composite
def edited(draw: st.DrawFn) -> tuple[Source, list[Edit]]:
    source = Source.from_bytes("Dockerfile", b"".join(draw(DATA)))
    cuts = sorted(draw(st.lists(st.integers(0, len(source.text)), max_size=8, unique=True)))
    texts = st.text(st.sampled_from("xyé "), max_size=4)
    edits = [
        Edit(source.span(start, end), draw(texts)) for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return source, edits


@given(edited(), st.randoms(use_true_random=False))
def test_edits_are_independent_of_their_order_and_keep_all_other_bytes(
    case: tuple[Source, list[Edit]], random: object
) -> None:
    source, edits = case
    result = Source("", apply_edits(source, edits)).data
    expected, at = b"", 0
    for edit in edits:
        expected += source.text[at : edit.span.start].encode("utf-8", "surrogateescape") + edit.text.encode()
        at = edit.span.end
    assert result == expected + source.text[at:].encode("utf-8", "surrogateescape")
    shuffled = [*edits, *edits]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Source("", apply_edits(source, shuffled)).data == result, "equal edits count once"


@given(edited())
def test_no_edit_changes_nothing(case: tuple[Source, list[Edit]]) -> None:
    source, edits = case
    assert Source("", apply_edits(source, [])).data == source.data
    same = [Edit(edit.span, edit.span.text) for edit in edits]
    assume("\n" not in "".join(edit.text for edit in same))
    assert Source("", apply_edits(source, same)).data == source.data


@given(st.text(st.sampled_from("ab"), min_size=2, max_size=9), st.data())
def test_overlapping_edits_are_refused_and_fixes_chosen_so_that_they_fit(
    text: str, data: st.DataObject
) -> None:
    source = Source("Dockerfile", text)
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    spans = [source.span(*place) for place in data.draw(st.lists(places, max_size=6))]
    fixes = [Fix(title="", edits=(Edit(span, str(number)),)) for number, span in enumerate(spans)]
    chosen = fitting(fixes)
    apply_edits(source, [edit for fix in chosen for edit in fix.edits])
    assert [fix for fix in fixes if fix in chosen] == chosen, "in their order"
    for number, fix in enumerate(fixes):
        if fix in chosen:
            continue
        before = [edit for one in chosen if fixes.index(one) < number for edit in one.edits]
        with pytest.raises(OverlapError):
            apply_edits(source, [*before, *fix.edits])


def test_all_edits_of_a_fix_are_made_or_none() -> None:
    source = Source("Dockerfile", "abc")
    first = Fix(title="", edits=(Edit(source.span(1, 2), "x"),))
    second = Fix(title="", edits=(Edit(source.span(0, 1), "y"), Edit(source.span(1, 2), "z")))
    assert fitting([first, second]) == [first]
    assert fitting([second, first]) == [second]


def test_insertions_at_one_place_have_no_order() -> None:
    source = Source("Dockerfile", "ab")
    with pytest.raises(OverlapError):
        apply_edits(source, [Edit(source.span(1, 1), "x"), Edit(source.span(1, 1), "y")])
    assert apply_edits(source, [Edit(source.span(1, 1), "x"), Edit(source.span(1, 2), "y")]) == "axy"
    assert apply_edits(source, [Edit(source.span(0, 1), "y"), Edit(source.span(1, 1), "x")]) == "yxb"


def test_new_lines_end_as_those_of_the_file() -> None:
    windows, unix = Source("Dockerfile", "a\r\nb\r\n"), Source("Dockerfile", "a\nb\n")
    assert apply_edits(windows, [Edit(windows.span(3, 4), "c\nd")]) == "a\r\nc\r\nd\r\n"
    assert apply_edits(unix, [Edit(unix.span(2, 3), "c\nd")]) == "a\nc\nd\n"


def test_an_edit_of_another_text_is_refused() -> None:
    source = Source("Dockerfile", "a")
    with pytest.raises(ValueError, match="none of"):
        apply_edits(Source("Other", "a"), [Edit(source.span(0, 1), "b")])
