# SPDX-License-Identifier: Apache-2.0
"""Reading tar streams: ustar, PAX and GNU long names, one entry after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_BLOCK = 512


class TarError(ValueError):
    """The stream is no tar, or is cut off."""


@dataclass(slots=True)
class Entry:
    """One entry. ``kind`` is the type flag; ``size`` bytes of content follow in the stream."""

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarReader:
    """Iterates over the entries of a stream; `read` and `skip` take the content of the current one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        pax: dict[bytes, bytes] = {}
        long_name = long_target = b""
        common: dict[bytes, bytes] = {}
        while True:
            self.skip()
            block = self._exactly(_BLOCK, at_start=True)
            if not block or block == b"\0" * _BLOCK:
                self._drain()
                return
            kind = block[156:157]
            size = _number(block[124:136])
            if kind in b"xgLK" and kind:
                self._left, self._padding = size, -size % _BLOCK
                data = self.read_all(limit=1 << 20)
                match kind:
                    case b"x":
                        pax = _pax(data)
                    case b"g":
                        common |= _pax(data)
                    case b"L":
                        long_name = data.rstrip(b"\0")
                    case b"K":
                        long_target = data.rstrip(b"\0")
                continue
            entry = _entry(block, kind, size, {**common, **pax}, long_name, long_target)
            pax, long_name, long_target = {}, b"", b""
            has_content = entry.kind in (b"0", b"7")
            self._left = entry.size if has_content else 0
            self._padding = -self._left % _BLOCK
            yield entry

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the current entry's content; nothing at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._stream.read(wanted)
        if not data:
            raise TarError("the archive is cut off")
        self._left -= len(data)
        return data

    def read_all(self, *, limit: int) -> bytes:
        """Return the rest of the current entry's content. Raises TarError if it is larger than ``limit``."""
        if self._left > limit:
            raise TarError("a header is too large")
        data = b"".join(iter(lambda: self.read(1 << 20), b""))
        self.skip()
        return data

    def skip(self) -> None:
        """Pass over what is left of the current entry."""
        while self._left:
            self.read(1 << 20)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _exactly(self, size: int, *, at_start: bool = False) -> bytes:
        data = self._stream.read(size)
        while 0 < len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                break
            data += more
        if len(data) != size and not (at_start and not data):
            raise TarError("the archive is cut off")
        return data

    def _drain(self) -> None:
        while self._stream.read(1 << 20):
            pass


def _entry(
    block: bytes, kind: bytes, size: int, pax: dict[bytes, bytes], long_name: bytes, long_target: bytes
) -> Entry:
    if sum(block[:148]) + 256 + sum(block[156:]) != _number(block[148:156]):
        raise TarError("a header has a wrong checksum")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    name = pax.get(b"path") or long_name or name
    target = pax.get(b"linkpath") or long_target or block[157:257].partition(b"\0")[0]
    mtime = pax.get(b"mtime")
    if kind == b"\0":
        kind = b"5" if name.endswith(b"/") else b"0"
    device = kind in (b"3", b"4")
    return Entry(
        name=name.decode("utf-8", "surrogateescape"),
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=int(pax.get(b"uid") or _number(block[108:116])),
        gid=int(pax.get(b"gid") or _number(block[116:124])),
        size=int(pax.get(b"size") or size),
        mtime_ns=_nanoseconds(mtime) if mtime else _number(block[136:148]) * 10**9,
        target=target.decode("utf-8", "surrogateescape"),
        major=_number(block[329:337]) if device else 0,
        minor=_number(block[337:345]) if device else 0,
        xattrs={
            key[len(b"SCHILY.xattr.") :].decode("utf-8", "surrogateescape"): value
            for key, value in pax.items()
            if key.startswith(b"SCHILY.xattr.")
        },
    )


def _number(text: bytes) -> int:
    if text[0] & 0x80:
        return int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big") if text[0] != 0xFF else -1
    digits = text.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise TarError("a header holds no number where there must be one") from None


def _nanoseconds(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    try:
        value = int(whole) * 10**9
        nanoseconds = int((part + b"000000000")[:9]) if part else 0
    except ValueError:
        raise TarError("a time is no number") from None
    return value - nanoseconds if whole.startswith(b"-") else value + nanoseconds


def _pax(data: bytes) -> dict[bytes, bytes]:
    out: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        try:
            length = int(data[at:space])
        except ValueError:
            raise TarError("a PAX record is malformed") from None
        if space < 0 or length <= space - at or at + length > len(data):
            raise TarError("a PAX record is malformed")
        key, _, value = data[space + 1 : at + length - 1].partition(b"=")
        out[key] = value
        at += length
    return out
