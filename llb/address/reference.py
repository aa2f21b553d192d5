# SPDX-License-Identifier: Apache-2.0
"""Image references: ``[domain/]path[:tag][@digest]``, read and normalised as Docker does.

Grammar and defaults follow the distribution project's reference package: no domain means ``docker.io``, one path
component on ``docker.io`` gets ``library/``, ``index.docker.io`` is another spelling of ``docker.io``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from llbkit.llb.errors import LLBError
from llbkit.records import dataclass

_DEFAULT_DOMAIN = "docker.io"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_NAME = rf"(?:{_DOMAIN}/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
_PLAIN = re.compile(rf"(?P<name>{_NAME})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}
_GENERAL_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_MAX_PATH = 255
_TOO_LONG = f"repository name must not be more than {_MAX_PATH} characters"


class InvalidDigestError(LLBError):
    """Invalid digest; the message is that of Go's digest package."""


def check_digest(text: str) -> None:
    """Check the form of a digest: ``sha256:`` and 64 hexadecimal digits in lower case, say.

    Raises:
        InvalidDigestError: it is malformed, or its algorithm is not known.
    """
    algorithm, _, encoded = text.partition(":")
    if not algorithm or not encoded:
        raise InvalidDigestError("invalid checksum digest format")
    if algorithm not in _ALGORITHMS:
        known = _GENERAL_DIGEST.fullmatch(text) is not None
        raise InvalidDigestError(
            "unsupported digest algorithm" if known else "invalid checksum digest format"
        )
    if len(encoded.encode("utf-8", "surrogateescape")) != _ALGORITHMS[algorithm]:
        raise InvalidDigestError("invalid checksum digest length")
    if not re.fullmatch("[a-f0-9]+", encoded):
        raise InvalidDigestError("invalid checksum digest format")


class InvalidReferenceError(LLBError):
    """A text is not an image reference. ``standard`` is Docker's message."""

    def __init__(
        self,
        text: str,
        reason: str,
        *,
        help: str = "",  # noqa: A002
        standard: str = "invalid reference format",
    ) -> None:
        super().__init__(f"invalid image reference {text!r}: {reason}")
        self.standard = standard
        self.help = help or "write an image as [registry/]name[:tag][@sha256:digest], in lower case"


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference. ``tag`` and ``digest`` are "" where not given; both may be set."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository: ``docker.io/library/alpine``."""
        return f"{self.domain}/{self.path}"

    @property
    def object(self) -> str:
        """The object to request from a registry: the digest, if any, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return self.name + self._suffix()

    @property
    def familiar(self) -> str:
        """The short form people write: ``alpine:3.20``."""
        if self.domain != _DEFAULT_DOMAIN:
            return str(self)
        path = self.path.removeprefix("library/")
        return (self.path if "/" in path else path) + self._suffix()

    def with_default_tag(self) -> Reference:
        """Return the same reference, with the tag ``latest`` if it names neither tag nor digest."""
        return self if self.object else replace(self, tag="latest")

    def with_digest(self, digest: str) -> Reference:
        """Return the same reference pinned to ``digest``; the tag stays, for people to read."""
        return replace(self, digest=digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read a reference in familiar or full form.

    Raises:
        InvalidReferenceError: ``text`` is none; the message says why.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReferenceError(
            text,
            "64 hexadecimal digits are an identifier, not a name",
            help=f"did you mean NAME@sha256:{text}?",
            standard=f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings",
        )
    domain, rest = _split_domain(text)
    path = rest.partition(":")[0]
    if path != path.lower():
        raise InvalidReferenceError(
            text,
            f"the repository name {path!r} must be lower case",
            standard=f"invalid reference format: repository name ({path}) must be lowercase",
        )
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidReferenceError(text, _reason(rest))
    if len(match["path"]) > _MAX_PATH:
        raise InvalidReferenceError(text, _TOO_LONG, standard=_TOO_LONG)
    return Reference(match["domain"], match["path"], match["tag"] or "", _digest_in(text, match["digest"]))


def parse_plain(text: str) -> tuple[str, str, str]:
    """Return the name with its domain, the tag and the digest of a reference, "" where it has none; no default is added.

    This is the form of a specifier of an OCI layout, whose name is that of a store.

    Raises:
        InvalidReferenceError: ``text`` is none.
    """
    match = _PLAIN.fullmatch(text)
    if match is None:
        standard = "invalid reference format"
        if not text:
            standard = "repository name must have at least one component"
        elif _PLAIN.fullmatch(text.lower()):
            standard = "repository name must be lowercase"
        raise InvalidReferenceError(text, standard, standard=standard)
    if len(match["path"]) > _MAX_PATH:
        raise InvalidReferenceError(text, _TOO_LONG, standard=_TOO_LONG)
    return match["name"], match["tag"] or "", _digest_in(text, match["digest"])


def _digest_in(text: str, digest: str | None) -> str:
    """Return the digest of a reference; "" if it has none. Raises InvalidReferenceError."""
    if not digest:
        return ""
    try:
        check_digest(digest)
    except InvalidDigestError as error:
        raise InvalidReferenceError(
            text,
            f"unsupported or malformed digest {digest!r}",
            help="use sha256: and 64 lower-case hexadecimal digits",
            standard=str(error),
        ) from None
    return digest


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or re.search("[.:]", first) or first != first.lower()):
        first, rest = _DEFAULT_DOMAIN, text
    if first == "index.docker.io":
        first = _DEFAULT_DOMAIN
    if first == _DEFAULT_DOMAIN and "/" not in re.split("[:@]", rest, maxsplit=1)[0]:
        rest = f"library/{rest}"
    return first, rest


def _reason(rest: str) -> str:
    name, _, digest = rest.partition("@")
    path, _, tag = name.partition(":")
    path = path.removeprefix("library/")
    if not path:
        return "the name is empty"
    if re.fullmatch(rf"{_COMPONENT}(?:/{_COMPONENT})*", path) is None:
        return f"invalid repository name {path!r}"
    if tag and re.fullmatch(_TAG, tag) is None:
        return f"invalid tag {tag!r}"
    if "@" in rest and re.fullmatch(_DIGEST, digest) is None:
        return f"invalid digest {digest!r}"
    return "malformed reference"
