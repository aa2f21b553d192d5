# SPDX-License-Identifier: Apache-2.0
"""SecretsUsedInArgOrEnv."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llbkit.frontends.dockerfile.check.buildcheck import BuildCheck
from llbkit.frontends.dockerfile.facts import ArgDeclared, PairSet
from llbkit.frontends.dockerfile.program.instructions import Env
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.lint.rule import Example, Finding, hears


def _token(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:_|^)(?:{'|'.join(words)})(?:_|$)", re.IGNORECASE)


_DENIED = _token(
    "apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"
)
_ALLOWED = _token("file", "public", "version")


class SecretsUsedInArgOrEnv(BuildCheck):
    """The name of an ARG or ENV sounds like a secret.

    Why: values stay in the image and its history, for everyone to read.

    Use instead: ``RUN --mount=type=secret``.
    """

    name = "SecretsUsedInArgOrEnv"
    description = "Sensitive data should not be used in the ARG or ENV commands"
    good = (
        Example(text="FROM alpine:3.20\nARG TOKEN_FILE\nENV PUBLIC_KEY=x TOKENS=1\n"),
        Example(text="ARG PASSWORD\nFROM alpine:3.20\nLABEL key=x\n"),
    )
    bad = (
        Example(text="FROM alpine:3.20\nENV A=b «DB_PASSWORD»=x\n"),
        Example(text="FROM alpine:3.20\nARG «api_key» B=c\n"),
    )

    @hears(ArgDeclared)
    def look_at_arg(self, fact: ArgDeclared) -> Iterator[Finding]:
        """Look at a key of an ARG."""
        if _is_secret(fact.key):
            yield Finding(_message("ARG", fact.key), where(fact.key))

    @hears(PairSet)
    def look_at_env(self, fact: PairSet) -> Iterator[Finding]:
        """Look at a key of an ENV."""
        if isinstance(fact.instruction, Env) and _is_secret(fact.key):
            yield Finding(_message("ENV", fact.key), where(fact.pair.key))


def _is_secret(key: str) -> bool:
    return bool(_DENIED.search(key)) and not _ALLOWED.search(key)


def _message(keyword: str, key: str) -> str:
    return f"Do not use ARG or ENV instructions for sensitive data ({keyword} {go_quote(key)})"
