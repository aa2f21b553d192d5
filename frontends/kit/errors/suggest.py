# SPDX-License-Identifier: Apache-2.0
"""BuildKit's "did you mean": which known word a wrong one is close to."""

from __future__ import annotations

from collections.abc import Iterable

from llbkit.grammar.diagnostic import edit_distance

_FARTHEST = 2


def suggest(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """Return the nearest known word, the first of equally near ones; "" if none is near.

    A word that is known itself is not what is wrong: it has no suggestion. Without case, the suggestion is written
    in the case of the wrong word. Cost: O(len(word)) for each known word.
    """
    wanted = word if case_sensitive else word.lower()
    best, best_distance = "", _FARTHEST + 1
    for candidate in known:
        option = candidate if case_sensitive else candidate.lower()
        if option == wanted:
            return ""
        if abs(len(option) - len(wanted)) >= best_distance:
            continue
        distance = edit_distance(wanted, option, limit=best_distance - 1)
        if distance < best_distance:
            best, best_distance = (
                (option if wanted == word else _in_case_of(word, option)),
                distance,
            )
    return best


def _in_case_of(word: str, option: str) -> str:
    return option.upper() if word == word.upper() else option


def did_you_mean(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """Return `` (did you mean x?)``, or "" if no known word is near."""
    found = suggest(word, known, case_sensitive=case_sensitive)
    return f" (did you mean {found}?)" if found else ""
