# SPDX-License-Identifier: Apache-2.0
"""Translate git's messages into errors with a next step."""

from __future__ import annotations

import re

from llbkit.worker.base import SourceError
from llbkit.worker.sources.giturl import GitSpec

_LONGEST = 300
_TOKEN = "provide a token with --secret id={token},env=VARIABLE"
_MEANINGS = (
    (
        r"terminal prompts disabled|Authentication|could not read (User|Pass)|askpass|returned error: 401",
        "authentication required",
        _TOKEN,
    ),
    (r"returned error: 403", "access denied (HTTP 403)", _TOKEN),
    (
        r"returned error: 3\d\d",
        "the server redirects to another address; credentials are not sent there",
        "use the repository's new address",
    ),
    (r"returned error: 429", "too many requests (HTTP 429)", "wait and try again"),
    (r"returned error: (5\d\d)", r"the server failed (HTTP \1)", "try again later"),
    (
        r"repository '.*' not found|returned error: 404",
        "repository not found",
        "check the address; a private one may need a token: --secret id={token},env=VARIABLE",
    ),
    (r"certificate", "", "set SSL_CERT_FILE to a trusted certificate authority file"),
    (r"Permission denied \(publickey", "", "SSH key required: add --ssh default"),
    (r"Host key verification failed", "", "host key verification failed"),
    (
        r"Could not resolve (?:proxy|host(?:name)?):? ([^\s;]+)",
        r"cannot resolve the host name \1",
        "check the spelling and the DNS configuration",
    ),
    (
        r"(?:Failed to|Could not|couldn't) connect to (?:(\S+) port (\d+)|server)",
        "cannot connect: connection refused or no route",
        "check the address, the port, the network and the proxy variables",
    ),
)


def git_failure(spec: GitSpec, said: str) -> SourceError:
    """Return the error for a run of git that failed and wrote ``said``."""
    lines = [line for line in said.strip().splitlines() if line]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR"))] or lines[-1:]
    text = (fatal[0] if fatal else "git failed").replace(spec.remote, spec.redacted)
    text = re.sub(r"^(fatal|error|ERROR): ", "", text)
    hint = "check the address and the network"
    for pattern, meaning, advice in _MEANINGS:
        if match := re.search(pattern, said):
            text = match.expand(meaning) or text
            hint = advice.format(token=spec.token_secret)
            break
    text = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    return SourceError(f"git: {spec.redacted}: {text}", help=hint)
