# SPDX-License-Identifier: Apache-2.0
"""Reading tar streams: ustar, PAX, GNU long names and GNU sparse maps are told apart; one entry after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_LIMIT = 1 << 20
_LATEST = 10**17  # seconds; far beyond what any filesystem keeps
_XATTR = b"SCHILY.xattr."
Read = Callable[[int], bytes]
"""Returns up to so many bytes, fewer only at the end of the stream or of a buffer; nothing at the end."""


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

    def __init__(self, read: Read) -> None:
        self._source = read
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        common: dict[bytes, bytes] = {}
        extra: dict[bytes, bytes] = {}
        while True:
            self.skip()
            block = self._exactly(_BLOCK, at_start=True)
            if not block or block == _ZEROS:
                self._drain()
                return
            kind = block[156:157]
            size = _size(block[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                self._left, self._padding = size, -size % _BLOCK
                found = _extension(kind, self._read_all())
                (common if kind == b"g" else extra).update(found)
                continue
            entry = _entry(block, kind, size, {**common, **extra} if common else extra)
            extra = {}
            self._left = entry.size if entry.kind in (b"0", b"7") else 0
            self._padding = -self._left % _BLOCK
            yield entry

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the current entry's content; nothing at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._source(wanted)
        if not data:
            raise TarError("the archive is cut off")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what is left of the current entry."""
        while self._left:
            self.read(_LIMIT)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _read_all(self) -> bytes:
        if self._left > _LIMIT:
            raise TarError("a header is too large")
        data = b"".join(iter(lambda: self.read(_LIMIT), b""))
        self.skip()
        return data

    def _exactly(self, size: int, *, at_start: bool = False) -> bytes:
        data = self._source(size)
        while 0 < len(data) < size:
            more = self._source(size - len(data))
            if not more:
                break
            data += more
        if len(data) != size and not (at_start and not data):
            raise TarError("the archive is cut off")
        return data

    def _drain(self) -> None:
        while self._source(_LIMIT):
            pass


def _extension(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """Return an extended header as PAX records, whichever dialect it is of."""
    match kind:
        case b"L":
            return {b"path": data.partition(b"\0")[0]}
        case b"K":
            return {b"linkpath": data.partition(b"\0")[0]}
        case _:
            return _pax(data)


def _entry(block: bytes, kind: bytes, size: int, extra: dict[bytes, bytes]) -> Entry:
    if sum(block[:148]) + 256 + sum(block[156:]) != _number(block[148:156]):
        raise TarError("a header has a wrong checksum")
    if kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in extra):
        raise TarError("it holds a sparse file, which layers may not (image-spec, layer.md)")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    name = extra.get(b"path") or name
    if kind == b"\0":
        kind = b"5" if name.endswith(b"/") else b"0"
    entry = Entry(
        name=name.decode("utf-8", "surrogateescape"),
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_id(block[108:116], extra.get(b"uid")),
        gid=_id(block[116:124], extra.get(b"gid")),
        size=size,
        mtime_ns=max(-_LATEST, min(_number(block[136:148]), _LATEST)) * 10**9,
        target=(extra.get(b"linkpath") or block[157:257].partition(b"\0")[0]).decode(
            "utf-8", "surrogateescape"
        ),
    )
    if kind in (b"3", b"4"):
        entry.major, entry.minor = _number(block[329:337]), _number(block[337:345])
    if extra:
        _extend(entry, extra)
    if "\0" in entry.name or "\0" in entry.target:
        raise TarError("a name holds a zero byte")
    return entry


def _extend(entry: Entry, extra: dict[bytes, bytes]) -> None:
    if size := extra.get(b"size"):
        entry.size = _decimal(size)
    if mtime := extra.get(b"mtime"):
        entry.mtime_ns = _nanoseconds(mtime)
    for key, value in extra.items():
        if key.startswith(_XATTR):
            entry.xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value


def _number(text: bytes) -> int:
    """Return a header's number: octal digits, or base 256 (two's complement) where the first bit is set."""
    if text[0] & 0x80:
        positive = text[0] & 0x40 == 0
        return (
            int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
            if positive
            else int.from_bytes(text, "big", signed=True)
        )
    digits = text.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise TarError("a header holds no number where there must be one") from None


def _size(text: bytes) -> int:
    size = _number(text)
    if size < 0:
        raise TarError("a header holds a negative size")
    return size


def _id(text: bytes, override: bytes | None) -> int:
    number = _decimal(override) if override else _number(text)
    if not 0 <= number < (1 << 32) - 1:
        raise TarError(f"a header names the owner {number}, which cannot be")
    return number


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise TarError("a PAX record holds no number where there must be one")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or (part and not part.isdigit()):
        raise TarError("a time is no number")
    if len(digits) > 18:
        raise TarError("a time is beyond all measure")
    value = int(digits) * 10**9 + (int((part + b"000000000")[:9]) if part else 0)
    return -value if whole.startswith(b"-") else value


def _pax(data: bytes) -> dict[bytes, bytes]:
    out: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        if space < 0 or space - at > 9 or not data[at:space].isdigit():
            raise TarError("a PAX record is malformed")
        length = int(data[at:space])
        if length <= space - at + 1 or at + length > len(data):
            raise TarError("a PAX record is malformed")
        key, _, value = data[space + 1 : at + length - 1].partition(b"=")
        out[key] = value
        at += length
    return out
