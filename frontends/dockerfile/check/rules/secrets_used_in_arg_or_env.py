# SPDX-License-Identifier: Apache-2.0
"""SecretsUsedInArgOrEnv: the name of an ARG or ENV sounds like a secret.

Why: values stay in the image and its history, for everyone to read.

Use instead: ``RUN --mount=type=secret``.
"""

from __future__ import annotations

import re

from llbkit.frontends.dockerfile.check.check import Linter, Rule
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.quote import go_quote

RULE = Rule(
    name="SecretsUsedInArgOrEnv",
    description="Sensitive data should not be used in the ARG or ENV commands",
)
VALID = ("FROM alpine:3.20\nARG TOKEN_FILE\nENV PUBLIC_KEY=x TOKENS=1\n",)
INVALID = ("FROM alpine:3.20\nENV DB_PASSWORD=x\n", "FROM alpine:3.20\nARG api_key\n")


def _token(*words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:_|^)(?:{'|'.join(words)})(?:_|$)", re.IGNORECASE)


_DENIED = _token(
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
)
_ALLOWED = _token("file", "public", "version")


def check(lint: Linter, keyword: str, key: str, place: Place) -> None:
    """Look at a key of an ARG or ENV."""
    if _DENIED.search(key) and not _ALLOWED.search(key):
        message = f"Do not use ARG or ENV instructions for sensitive data ({keyword} {go_quote(key)})"
        lint.report(RULE, place, message)
