# SPDX-License-Identifier: Apache-2.0
"""The local image store: names that point to images in the content store.

What a name points to is a root of garbage collection (`ImageStore.roots`); removing the name frees it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence

from llbkit.llb.address.reference import Reference, parse
from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, SourceError
from llbkit.worker.content.provider import INDEXES, Blobs, descriptor_from, objects_in, read_json
from llbkit.worker.oci import Descriptor
from llbkit.worker.state.metadata import Metadata

_SCHEMA = "CREATE TABLE IF NOT EXISTS images (name TEXT PRIMARY KEY, descriptor TEXT NOT NULL, created_at REAL NOT NULL)"
_SELECT = "SELECT name, descriptor, created_at FROM images"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One name. ``created_at`` is in seconds since 1970."""

    name: str
    descriptor: Descriptor
    created_at: float


class ImageStore:
    """Images by name. Thread-safe, and shared by processes; also a `llbkit.worker.content.provider.Provider`.

    Args:
        database: where the table lives (made if missing).
        blobs: the content store that holds what names point to.
        clock: seconds since 1970.
    """

    def __init__(self, database: Metadata, blobs: Blobs, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        database.register("images", 1, _SCHEMA)

    def put(self, name: str, descriptor: Descriptor) -> None:
        """Let ``name`` point to an image, whatever it pointed to before."""
        row = (name, json.dumps(descriptor.to_json()), self._clock())
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", row)

    def get(self, name: str) -> StoredImage | None:
        """Return what ``name`` (normalised, with tag) points to."""
        rows = self._database.query(f"{_SELECT} WHERE name = ?", (name,))
        return _image(rows[0]) if rows else None

    def list(self) -> list[StoredImage]:
        """Return all names, sorted."""
        return [_image(row) for row in self._database.query(f"{_SELECT} ORDER BY name")]

    def tag(self, source: str, target: str) -> None:
        """Give the image ``source`` a second name.

        Raises:
            SourceError: the image does not exist.
        """
        self.put(str(parse(target).with_default_tag()), self.find(source).descriptor)

    def remove(self, name: str) -> StoredImage:
        """Forget a name, in any spelling, or the only name of an image given by its id; return what it was.

        Raises:
            SourceError: the image does not exist, or the id has several names.
        """
        matching = self._matching(name)
        if len(matching) > 1:
            names = ", ".join(parse(image.name).familiar for image in matching)
            raise SourceError(f"{name} has several names: {names}", help="remove it by name")
        image = matching[0]
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM images WHERE name = ?", (image.name,))
        return image

    def find(self, name: str) -> StoredImage:
        """Return the image of a name, in any spelling, or of an id: a digest or the first 7 or more digits of one.

        Raises:
            SourceError: the image does not exist.
        """
        return self._matching(name)[0]

    def roots(self) -> frozenset[str]:
        """Return the digests that names keep alive: manifests, configs and layers, as far as they are stored."""
        found: set[str] = set()
        for image in self.list():
            self._reach(image.descriptor, found)
        return frozenset(found)

    def resolve(self, ref: Reference, cancel: CancelToken) -> Descriptor:
        """Return what a reference points to.

        Raises:
            SourceError: the image does not exist.
        """
        image = self.get(str(ref.with_default_tag()))
        if image is not None:
            return image.descriptor
        for other in self.list():
            if ref.digest and other.descriptor.digest == ref.digest:
                return other.descriptor
        raise SourceError(
            f"{ref.familiar} not found in the local image store", help="`llbkit images` lists local images"
        )

    def manifest(self, ref: Reference, descriptor: Descriptor, cancel: CancelToken) -> bytes:
        """Return a manifest or index."""
        return self._blobs.read(descriptor.digest)

    def chunks(
        self, ref: Reference, descriptor: Descriptor, cancel: CancelToken, offset: int = 0
    ) -> Iterator[bytes]:
        """Yield a blob in chunks from ``offset`` on."""
        with self._blobs.open(descriptor.digest) as stream:
            stream.seek(offset)
            while piece := stream.read(1 << 20):
                cancel.check()
                yield piece

    def _matching(self, name: str) -> Sequence[StoredImage]:
        images = self.list()
        prefix = name if name.startswith("sha256:") else f"sha256:{name}"
        if re.fullmatch(r"sha256:[0-9a-f]{7,64}", prefix):
            by_id = [image for image in images if image.descriptor.digest.startswith(prefix)]
            if len({image.descriptor.digest for image in by_id}) > 1:
                raise SourceError(f"the id {name} is ambiguous", help="use more digits")
            if by_id:
                return by_id
        if not name.startswith("sha256:"):
            wanted = str(parse(name).with_default_tag())
            if named := [image for image in images if image.name == wanted]:
                return named
        raise SourceError(f"no such image: {name}", help="`llbkit images` lists local images")

    def _reach(self, root: Descriptor, found: set[str]) -> None:
        pending = [root]
        while pending:
            descriptor = pending.pop()
            if descriptor.digest in found:
                continue
            found.add(descriptor.digest)
            if not self._blobs.exists(descriptor.digest):
                continue
            body = read_json(descriptor.digest, self._blobs.read(descriptor.digest))
            if descriptor.media_type in INDEXES:
                pending += [
                    descriptor_from("index", entry) for entry in objects_in("index", body, "manifests")
                ]
            else:
                leaves = [body.get("config"), *(body.get("layers") or ())]
                found |= {str(leaf["digest"]) for leaf in leaves if leaf}


def _image(row: tuple[str, str, float]) -> StoredImage:
    name, text, created = row
    return StoredImage(name=name, descriptor=descriptor_from(name, json.loads(text)), created_at=created)
