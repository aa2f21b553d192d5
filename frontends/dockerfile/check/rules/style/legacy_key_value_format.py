# SPDX-License-Identifier: Apache-2.0
"""LegacyKeyValueFormat."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import PairSet
from llbkit.frontends.dockerfile.syntax.words import Word
from llbkit.frontends.kit.lint.rule import Example, Finding, hears
from llbkit.grammar import Edit, Fix

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_./-]+")
_PLAIN_VALUE = re.compile(r"[^\"'\\`\n]*")


class LegacyKeyValueFormat(BuildCheck):
    """ENV or LABEL is written ``KEY value``.

    Why: it can set one variable only, and quotes mean something else in it.

    Use instead: ``ENV KEY=value``.
    """

    name = "LegacyKeyValueFormat"
    description = "Legacy key/value format with whitespace separator should not be used"
    good = (Example(text="FROM alpine:3.20\nENV A=b\n"),)
    bad = (
        Example(text="FROM alpine:3.20\nENV «A b»\n", fixed="FROM alpine:3.20\nENV A=b\n"),
        Example(text="FROM alpine:3.20\nLABEL «a  b $PATH»\n", fixed='FROM alpine:3.20\nLABEL a="b $PATH"\n'),
        Example(text="FROM alpine:3.20\nENV «A 'b c'»\n"),
    )

    @hears(PairSet)
    def look(self, fact: PairSet) -> Iterator[Finding]:
        """Look at an ENV or LABEL without ``=``."""
        pair, keyword = fact.pair, fact.instruction.keyword
        if not pair.legacy:
            return
        message = f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'
        if isinstance(pair.key, Word) and isinstance(pair.value, Word):
            yield Finding(message, pair.key.span.to(pair.value.span), _fixes(pair.key, pair.value))
        else:
            yield Finding(message)


def _fixes(key: Word, value: Word) -> tuple[Fix, ...]:
    """Return a fix for a value that means the same in double quotes, or needs none."""
    span = key.span.to(value.span)
    if "\n" in span.text or not (_PLAIN_KEY.fullmatch(key) and _PLAIN_VALUE.fullmatch(value)):
        return ()
    quote = "" if value and not re.search(r"\s", value) else '"'
    edit = Edit(span, f"{key}={quote}{value}{quote}")
    return (Fix(title="Write key=value", edits=(edit,)),)
