# SPDX-License-Identifier: Apache-2.0
"""Reading tar streams: V7, ustar, PAX and GNU headers, one entry after the other.

Whatever the bytes are, memory stays small: what a header may claim is bounded here, and content is never held. Global PAX
headers are passed over, as Go's archive/tar and so the engines that use it do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import field

from llbkit.records import dataclass
from llbkit.worker.archive.tarsparse import DIALECTS, OLD_GNU, Segment, TarError, old_map, pax_map, stored_map
from llbkit.worker.fs.rootpath import PATH_MAX

__all__ = ["Entry", "Read", "TarError", "TarReader", "check_depth"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_CHUNK = 1 << 20
_EXTENSION = 1 << 20  # bytes of one extended header; Go's archive/tar has the same limit
_PENDING = 4 << 20  # bytes of all extended headers of one entry, their blocks included
_RECORDS = 1000  # PAX records of one entry that mean something to us
_LATEST = 10**17  # seconds; far beyond what any filesystem keeps
_LARGEST = (1 << 63) - 1  # bytes of a file; the limit of Linux
_XATTR = b"SCHILY.xattr."
_SLACK = 64  # bytes by which the path of a snapshot's view may be longer than the one unpacked to
_KEYS = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"})
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_NUMBERS = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148))  # mode, owners, time
Read = Callable[[int], bytes]
"""Returns up to so many bytes, fewer only at the end of the stream or of a buffer; nothing at the end."""


@dataclass(slots=True)
class Entry:
    """One entry. ``kind`` is the type flag; ``size`` bytes of content follow in the stream.

    Of a sparse file, ``segments`` says where that content goes, and ``size`` is the whole file's.
    """

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
    segments: list[Segment] | None = None

    def check_paths(self) -> None:
        """Refuse what no filesystem of Linux can hold, before time is spent on it.

        Raises:
            TarError: the name or the target is too long.
        """
        for what, text in (("name", self.name), ("link target", self.target)):
            length = len(os.fsencode(text))
            if length >= PATH_MAX:
                shown = f"{text[:40]}..."
                raise TarError(f"the {what} {shown} has {length:,} bytes, the limit is {PATH_MAX - 1:,}")


def check_depth(full: str) -> None:
    """Refuse a host path that is so long that views of what is unpacked would not reach it.

    Raises:
        TarError: it is.
    """
    length = len(os.fsencode(full))
    if length + _SLACK >= PATH_MAX:
        raise TarError(f"a member is nested too deeply: its path would have {length:,} bytes here")


class TarReader:
    """Iterates over the entries of a stream up to the mark of its end.

    `read`, `write_to` and `skip` take the content of the current entry. ``skip`` passes over so many bytes of the stream,
    where there is a faster way than to read them.
    """

    def __init__(self, read: Read, skip: Callable[[int], object] | None = None) -> None:
        self._source = read
        self._pass_over = skip
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        extra: dict[bytes, bytes] = {}
        pending = 0
        while True:
            self.skip()
            block = self._exactly(_BLOCK, at_start=True)
            if not block:
                return
            if block == _ZEROS:
                if self._exactly(_BLOCK, at_start=True) not in (b"", _ZEROS):
                    raise TarError("unexpected zero block in place of a header")
                return
            if not _is_intact(block):
                raise TarError("invalid header checksum")
            kind = block[156:157]
            size = _size(block[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                for part in _NUMBERS:
                    _number(block[part])
                _devices(block)
                found = _extension(kind, self._read_all(size))
                pending += 2 * _BLOCK + size
                if pending > _PENDING:
                    raise TarError(f"an entry has more than {_PENDING >> 20} MiB of extended headers")
                extra = {**extra, **found} if kind != b"g" else {}
                if len(extra) > _RECORDS:
                    raise TarError(f"an entry has more than {_RECORDS:,} extended attributes")
                continue
            entry = _entry(block, kind, size, extra)
            if entry.kind in _WITHOUT_CONTENT:
                entry.size = 0  # some writers give hard links the size of the file
            self._left = entry.size
            self._padding = -self._left % _BLOCK
            if kind == OLD_GNU or not DIALECTS.isdisjoint(extra):
                self._sparse(entry, block, extra)
            extra, pending = {}, 0
            yield entry

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the current entry's stored content; nothing at its end."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._source(wanted)
        if not data:
            raise TarError("unexpected end of archive")
        self._left -= len(data)
        return data

    def write_to(self, descriptor: int, entry: Entry, check: Callable[[], object]) -> None:
        """Write the current entry's content to an empty file; holes of a sparse file stay holes.

        ``check`` is called between two pieces and may raise.

        Raises:
            TarError: unexpected end of archive, or a sparse file would not fit on the disk if it were written out.
            OSError: writing fails.
        """
        if entry.segments is None:
            self._copy(descriptor, entry.size, check)
            return
        disk = os.fstatvfs(descriptor)
        if entry.size > disk.f_bavail * disk.f_frsize:
            raise TarError(
                f"the sparse file {entry.name} has {entry.size:,} bytes, more than the free disk space"
            )
        for offset, length in entry.segments:
            os.lseek(descriptor, offset, os.SEEK_SET)
            self._copy(descriptor, length, check)
        os.ftruncate(descriptor, entry.size)

    def skip(self) -> None:
        """Pass over what is left of the current entry."""
        if self._pass_over is not None:
            if rest := self._left + self._padding:
                self._pass_over(rest)
            self._left = self._padding = 0
        while self._left:
            self.read(_CHUNK)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _copy(self, descriptor: int, length: int, check: Callable[[], object]) -> None:
        while length:
            check()
            data = self.read(min(_CHUNK, length))
            if not data:
                raise TarError("unexpected end of archive")
            length -= len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

    def _sparse(self, entry: Entry, block: bytes, extra: dict[bytes, bytes]) -> None:
        """Read the map of a sparse file, whichever dialect it is in."""
        if entry.kind == OLD_GNU:
            size, segments = old_map(block, lambda: self._exactly(_BLOCK))
            entry.kind = b"0"
        elif entry.kind != b"0":
            return
        elif extra.get(b"GNU.sparse.major") == b"1":
            size, segments = stored_map(extra, self._map_block)
        else:
            size, segments = pax_map(extra)
        if sum(length for _, length in segments) != self._left:
            raise TarError(f"the map of the sparse file {entry.name} does not match its content")
        if name := extra.get(b"GNU.sparse.name"):
            entry.name = _text(name)
        entry.size, entry.segments = size, segments

    def _map_block(self) -> bytes:
        if self._left < _BLOCK:
            raise TarError("unexpected end of a sparse file's map")
        self._left -= _BLOCK
        return self._exactly(_BLOCK)

    def _read_all(self, size: int) -> bytes:
        if size > _EXTENSION:
            raise TarError(f"extended header of {size:,} bytes exceeds the limit of {_EXTENSION:,}")
        self._left, self._padding = size, -size % _BLOCK
        data = b"".join(iter(lambda: self.read(_CHUNK), b""))
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
            raise TarError("unexpected end of archive")
        return data


def _is_intact(block: bytes) -> bool:
    """Compare the checksum; some ancient writers summed up signed characters."""
    claimed = _octal(block[148:156])
    found = sum(block[:148]) + 256 + sum(block[156:])
    return found == claimed or found - 256 * sum(byte > 127 for byte in block[:148] + block[156:]) == claimed


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
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    name = extra.get(b"path") or name
    if kind == b"\0":
        kind = b"5" if name.endswith(b"/") else b"0"
    entry = Entry(
        name=_text(name),
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_id(block[108:116], extra.get(b"uid")),
        gid=_id(block[116:124], extra.get(b"gid")),
        size=size,
        mtime_ns=max(-_LATEST, min(_number(block[136:148]), _LATEST)) * 10**9,
        target=_text(extra.get(b"linkpath") or block[157:257].partition(b"\0")[0]),
    )
    devices = (0, 0)
    if (
        block[257:263] == b"ustar\0" or block[257:265] == b"ustar  \0"
    ):  # whatever the type is, numbers are there
        devices = _number(block[329:337]), _number(block[337:345])
    if kind in (b"3", b"4"):
        entry.major, entry.minor = devices
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise TarError(f"{entry.name} has invalid device numbers {entry.major}, {entry.minor}")
    if extra:
        _extend(entry, extra)
    if "\0" in entry.name or "\0" in entry.target:
        raise TarError("NUL byte in a name")
    return entry


def _extend(entry: Entry, extra: dict[bytes, bytes]) -> None:
    if size := extra.get(b"size"):
        entry.size = _decimal(size)
    if mtime := extra.get(b"mtime"):
        entry.mtime_ns = _nanoseconds(mtime)
    for key, value in extra.items():
        if key.startswith(_XATTR):
            entry.xattrs[_text(key[len(_XATTR) :])] = value


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(text: bytes) -> int:
    """Return a header's number: octal digits, or base 256 (two's complement) where the first bit is set."""
    if not text[0] & 0x80:
        return _octal(text)
    number = int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
    if text[0] & 0x40:
        number -= 1 << (8 * len(text) - 1)
    if not -_LARGEST <= number <= _LARGEST:
        raise TarError("number out of range in a header")
    return number


def _octal(text: bytes) -> int:
    digits = text.strip(b" \0").partition(b"\0")[0]
    try:
        if digits and not digits.isdigit():
            raise ValueError
        return int(digits, 8) if digits else 0
    except ValueError:
        raise TarError("invalid number in a header") from None


def _devices(block: bytes) -> tuple[int, int]:
    """Return the device numbers, which stand in every header of these dialects, whatever its type is."""
    if block[257:263] != b"ustar\0" and block[257:265] != b"ustar  \0":
        return 0, 0
    return _number(block[329:337]), _number(block[337:345])


def _size(text: bytes) -> int:
    size = _number(text)
    if not 0 <= size <= _LARGEST:
        raise TarError(f"invalid size {size} in a header")
    return size


def _id(text: bytes, override: bytes | None) -> int:
    number = _number(text)
    if override:
        number = _decimal(override)
    if not 0 <= number < (1 << 32) - 1:
        raise TarError(f"invalid owner {number} in a header")
    return number


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) > _LARGEST:
        raise TarError("invalid number in a PAX record")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or (part and not part.isdigit()):
        raise TarError(f"a modification time is {_text(text[:40])!r}, not a number of seconds")
    if len(digits) > 18:
        raise TarError("modification time out of range")
    value = int(digits) * 10**9 + (int((part + b"000000000")[:9]) if part else 0)
    return -value if whole.startswith(b"-") else value


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return the records that mean something here; later ones win."""
    out: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 11)
        if space < 0 or not data[at:space].isdigit():
            raise TarError("malformed PAX record")
        end = at + int(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or data[end - 1 : end] != b"\n" or not (key and equals):
            raise TarError("malformed PAX record")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pieces.append(value)  # the oldest dialect repeats its keys
        elif key in _KEYS or key.startswith((_XATTR, b"GNU.sparse.")):
            out[key] = value
        at = end
    if pieces:
        out[b"GNU.sparse.map"] = b",".join(pieces)
    return out
