# SPDX-License-Identifier: Apache-2.0
"""Single blobs as sources. Attributes and caps are those of BuildKit's ``client/llb``."""

from __future__ import annotations

from typing import Unpack

from llbkit.llb.address.reference import InvalidReferenceError
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.options import Constraints, Options
from llbkit.llb.builder.sources import SourceNode, file_attrs, state_of
from llbkit.llb.builder.state import State


def image_blob(
    ref: str,
    *,
    filename: str = "",
    chmod: int | None = None,
    chown: tuple[int, int] | None = None,
    **options: Unpack[Options],
) -> State:
    """One blob of a repository as a file; ``ref`` names its digest.

    >>> from llbkit.llb import image_blob
    >>> layer = image_blob("alpine@sha256:" + "0" * 64, filename="layer.tar.gz")
    >>> layer.graph().head.vertex.op.identifier[:54]
    'docker-image+blob://docker.io/library/alpine@sha256:00'
    """
    return _blob("docker-image+blob", ref, {}, filename, chmod, chown, Constraints.of(options))


def oci_layout_blob(
    ref: str,
    *,
    session_id: str = "",
    store_id: str = "",
    filename: str = "",
    chmod: int | None = None,
    chown: tuple[int, int] | None = None,
    **options: Unpack[Options],
) -> State:
    """One blob of an OCI layout as a file.

    >>> from llbkit.llb import oci_layout_blob
    >>> layer = oci_layout_blob("app@sha256:" + "0" * 64, store_id="builds", filename="layer.tar.gz")
    >>> layer.graph().head.vertex.op.attrs["oci.store"]
    'builds'
    """
    attrs = {key: value for key, value in {"oci.session": session_id, "oci.store": store_id}.items() if value}
    return _blob("oci-layout+blob", ref, attrs, filename, chmod, chown, Constraints.of(options))


def _blob(
    scheme: str,
    ref: str,
    attrs: dict[str, str],
    filename: str,
    chmod: int | None,
    chown: tuple[int, int] | None,
    constraints: Constraints,
) -> State:
    caps = {"source.imageblob"}
    file_attrs(attrs, set(), filename, chmod, chown)
    error, name = "", ref
    try:
        parsed = parse_reference(ref)
        name = str(parsed)
        if parsed.tag:
            error = "tagged image reference not allowed for blob reference"
        elif not parsed.digest:
            error = "checksum required in blob reference"
    except InvalidReferenceError as invalid:
        error = invalid.standard
    node = SourceNode(
        identifier=f"{scheme}://{name}", attrs=attrs, caps=tuple(caps), constraints=constraints, error=error
    )
    return state_of(node)
