# SPDX-License-Identifier: Apache-2.0
"""Source ops: states from images, git, HTTP and local directories. Attributes and caps are those of BuildKit's ``client/llb``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Literal, Unpack

from llbkit.llb.address import giturl
from llbkit.llb.address.reference import InvalidReferenceError
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.arguments import expect
from llbkit.llb.builder.nodes import Base, Output, VertexSpec
from llbkit.llb.builder.options import Constraints, Options
from llbkit.llb.builder.settings import LazySettings, Settings, image_settings
from llbkit.llb.builder.state import State
from llbkit.llb.errors import StateError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

_IMAGE = "docker-image://"
ResolveMode = Literal["default", "pull", "local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What a resolver knows of an image.

    ``config`` is its config (JSON), ``digest`` pins the reference ("" does not), ``ref`` takes its place ("" keeps it).
    """

    config: bytes | str
    digest: str = ""
    ref: str = ""


Resolver = Callable[[str, Platform], ImageConfig]
"""``resolver(reference, platform)`` looks an image up when the graph is made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceNode:
    """A source op. ``specific`` ones carry a platform; ``resolve`` looks an image up when the platform is known.

    What it finds takes the place of the image named by ``identifier`` where that is ``pinned``.
    """

    identifier: str
    attrs: Mapping[str, str]
    caps: tuple[str, ...]
    constraints: Constraints
    specific: bool = False
    unique: bool = False
    error: str = ""
    resolve: Callable[[Platform], ImageConfig] | None = field(default=None, repr=False)
    pinned: bool = False

    @property
    def fixed_platform(self) -> Platform | None:
        """The platform it was given."""
        return self.constraints.platform

    def reads(self, base: Base) -> Sequence[Output]:
        """A source reads nothing."""
        return ()

    def index_of(self, slot: int | str) -> int:
        """A source has one output."""
        return 0

    def make(self, base: Base, edge: Callable[[Output], Edge]) -> VertexSpec:
        """Return the source op for a platform."""
        if self.error:
            raise StateError(self.error)
        platform = self.constraints.platform or base.platform
        attrs, caps, identifier = dict(self.attrs), self.caps, self.identifier
        if self.unique:
            attrs["local.unique"] = (
                self.constraints.local_unique_id or base.constraints.local_unique_id or base.unique
            )
            caps = (*caps, "source.local.unique")
        if self.resolve is not None:
            # Asked for without pinning too: an image that is not there is an error of the graph.
            found = self.resolve(platform)
            if self.pinned:
                identifier = _IMAGE + _pinned(identifier.removeprefix(_IMAGE), found)
        op = ops.Source(identifier=identifier, attrs=attrs)
        return VertexSpec(op=op, caps=caps, platform=platform if self.specific else None)


def state_of(node: SourceNode) -> State:
    """Return the state of a source."""
    return State().with_output(Output(node))


def image(
    ref: str,
    *,
    resolve_mode: ResolveMode = "default",
    layer_limit: int | None = None,
    checksum: str = "",
    record_type: str = "",
    resolver: Resolver | None = None,
    resolve_digest: bool = False,
    **options: Unpack[Options],
) -> State:
    """An image of a registry.

    With a ``resolver`` the state takes the image config's environment and directory once the platform is known,
    and with ``resolve_digest`` the reference is pinned.

    >>> image("alpine:3.20").graph().head.vertex.op.identifier
    'docker-image://docker.io/library/alpine:3.20'
    >>> def resolver(reference, platform):
    ...     return ImageConfig(config='{"config": {"Env": ["A=1"]}}', digest="sha256:" + "0" * 64)
    >>> pinned = image("alpine", resolver=resolver, resolve_digest=True)
    >>> pinned.run("env").graph().head.vertex.op.meta.env[-1]
    'A=1'
    """
    expect("image", "ref", ref, str)
    constraints = Constraints.of(options)
    attrs: dict[str, str] = {}
    caps = {"source.image"}
    if resolve_mode != "default":
        attrs["image.resolvemode"] = resolve_mode
        if resolve_mode == "pull":
            caps.add("source.image.resolvemode")
    if record_type:
        attrs["image.recordtype"] = record_type
    if layer_limit is not None:
        attrs["image.layerlimit"] = str(layer_limit)
        caps.add("source.image.layerlimit")
    if checksum:
        attrs["image.checksum"] = checksum
        caps.add("source.image.checksum")
    name, error = _normalized(ref)
    known: dict[Platform, ImageConfig] = {}

    def resolve(platform: Platform) -> ImageConfig:
        assert resolver is not None, "called only when a resolver is set"
        if platform not in known:
            known[platform] = resolver(name, platform)
        return known[platform]

    node = SourceNode(
        identifier=_IMAGE + name,
        attrs=attrs,
        caps=tuple(caps),
        constraints=constraints,
        specific=True,
        error=error,
        resolve=resolve if resolver is not None else None,
        pinned=resolve_digest and "@" not in name,
    )
    state = state_of(node)
    if resolver is None or error:
        return state

    def settings(platform: Platform) -> Settings:
        change = image_settings(resolve(constraints.platform or platform).config)
        return change(Settings(platform=constraints.platform))

    return State(state.output, LazySettings(base=settings))


def _pinned(name: str, found: ImageConfig) -> str:
    try:
        reference = parse_reference(found.ref or name)
    except InvalidReferenceError as error:
        raise StateError(f"failed to parse resolved reference {found.ref}: {error.standard}") from None
    return str(reference.with_digest(found.digest) if found.digest else reference)


def _normalized(ref: str) -> tuple[str, str]:
    """Return the full reference with a tag, and what is wrong with it."""
    try:
        return str(parse_reference(ref).with_default_tag()), ""
    except InvalidReferenceError as error:
        return ref, error.standard


def oci_layout(
    ref: str,
    *,
    session_id: str = "",
    store_id: str = "",
    layer_limit: int | None = None,
    **options: Unpack[Options],
) -> State:
    """An image of an OCI layout that the client offers as ``store_id``; ``ref`` names its digest, which is what is checked.

    >>> state = oci_layout("example.com/app@sha256:" + "0" * 64, store_id="builds")
    >>> dict(state.graph().head.vertex.op.attrs)
    {'oci.store': 'builds'}
    """
    expect("oci_layout", "ref", ref, str)
    attrs = {"oci.session": session_id, "oci.store": store_id}
    if layer_limit is not None:
        attrs["oci.layerlimit"] = str(layer_limit)
    node = SourceNode(
        identifier=f"oci-layout://{ref}",
        attrs={key: value for key, value in attrs.items() if value},
        caps=("source.ocilayout",),
        constraints=Constraints.of(options),
        specific=True,
    )
    return state_of(node)


def local(
    name: str,
    /,
    *,
    session_id: str = "",
    include_patterns: Sequence[str] = (),
    exclude_patterns: Sequence[str] = (),
    follow_paths: Sequence[str] = (),
    shared_key_hint: str = "",
    differ: Literal["", "none", "metadata"] = "",
    differ_required: bool = False,
    metadata_only: bool = False,
    metadata_exceptions: Sequence[str] = (),
    **options: Unpack[Options],
) -> State:
    """A directory of the client, known by ``name``.

    >>> state = local("context", include_patterns=["src/**"], exclude_patterns=["**/*.pyc"])
    >>> state.graph().head.vertex.op.attrs["local.includepattern"]
    '["src/**"]'
    """
    expect("local", "name", name, str)
    attrs: dict[str, str] = {}
    caps = {"source.local"}

    def put(key: str, value: str, cap: str) -> None:
        if value:
            attrs[f"local.{key}"] = value
            caps.add(f"source.local.{cap}")

    put("session", session_id, "sessionid")
    put("includepattern", _json_list(include_patterns), "includepatterns")
    put("followpaths", _json_list(follow_paths), "followpaths")
    put("excludepatterns", _json_list(exclude_patterns), "excludepatterns")
    put("sharedkeyhint", shared_key_hint, "sharedkeyhint")
    if differ:
        attrs["local.differ"] = differ
        if differ_required:
            caps.add("source.local.differ")
    if metadata_only:
        put("metadatatransfer", "true", "metadatatransfer")
        if metadata_exceptions:
            attrs["local.metadatatransferexclude"] = _json_list(metadata_exceptions)
    node = SourceNode(
        identifier=f"local://{name}",
        attrs=attrs,
        caps=tuple(caps),
        constraints=Constraints.of(options),
        unique=not session_id,
    )
    return state_of(node)


def _json_list(items: Sequence[str]) -> str:
    """Return a JSON array as Go writes it; "" if there is nothing to write."""
    if not items:
        return ""
    text = json.dumps(list(items), separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def git(
    url: str,
    fragment: str = "",
    *,
    ref: str = "",
    subdir: str = "",
    keep_git_dir: bool = False,
    auth_header_secret: str | None = None,
    auth_token_secret: str | None = None,
    known_ssh_hosts: Sequence[str] = (),
    mount_ssh_sock: str = "",
    checksum: str = "",
    skip_submodules: bool = False,
    mtime: Literal["", "checkout", "commit"] = "",
    fetch_by_commit: bool = False,
    bundle: str = "",
    bundle_oci_session: str = "",
    bundle_oci_store: str = "",
    checkout_bundle: bool = False,
    **options: Unpack[Options],
) -> State:
    """A git repository at a ref; ``fragment`` is ``ref[:subdir]``.

    ``auth_header_secret`` and ``auth_token_secret`` name secrets; None takes BuildKit's default names, "" none.

    >>> git("https://example.com/team/app.git", "v1.0:docs").graph().head.vertex.op.identifier
    'git://example.com/team/app.git#v1.0:docs'
    """
    expect("git", "url", url, str)
    remote = _remote(url)
    found_ref, found_subdir = giturl.split_fragment(fragment) if fragment else (remote.ref, remote.subdir)
    ref, subdir = ref or found_ref, subdir or found_subdir
    identifier = f"git://{remote.location}"
    if remote.scheme and (ref or subdir):  # what is not an address is left as it is
        identifier += f"#{ref}" + (f":{subdir}" if subdir else "")
    attrs = {"git.fullurl": remote.full}
    caps = {"source.git", "source.git.fullurl"}

    def put(key: str, value: str) -> None:
        if value:
            attrs[f"git.{key}"] = value
            caps.add(f"source.git.{key}")

    put("keepgitdir", "true" if keep_git_dir else "")
    chosen = auth_header_secret is not None or auth_token_secret is not None
    for key, given, default in (
        ("git.authheadersecret", auth_header_secret, "GIT_AUTH_HEADER"),
        ("git.authtokensecret", auth_token_secret, "GIT_AUTH_TOKEN"),
    ):
        if name := default if given is None else given:
            attrs[key] = name
            if chosen:
                caps.add("source.git.httpauth")
    if remote.is_ssh:
        if known_ssh_hosts:
            attrs["git.knownsshhosts"] = "".join(line.removesuffix("\n") + "\n" for line in known_ssh_hosts)
        caps |= {"source.git.knownsshhosts", "source.git.mountsshsock"}
        attrs["git.mountsshsock"] = mount_ssh_sock or "default"
    put("checksum", checksum)
    put("skipsubmodules", "true" if skip_submodules else "")
    put("mtime", mtime)
    put("fetchbycommit", "true" if fetch_by_commit else "")
    put("bundle", bundle)
    put("checkoutbundle", "true" if checkout_bundle else "")
    if bundle_oci_session:
        attrs["oci.session"] = bundle_oci_session
    if bundle_oci_store:
        attrs["oci.store"] = bundle_oci_store
    node = SourceNode(
        identifier=identifier, attrs=attrs, caps=tuple(caps), constraints=Constraints.of(options)
    )
    return state_of(node)


def _remote(url: str) -> giturl.GitURL:
    """Read an address; one that cannot be read stands for itself, and fails when it is fetched."""
    try:
        return giturl.parse_or_bare(url)
    except giturl.GitURLError:
        return giturl.GitURL(scheme="", full=url, location=url)


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPHeader:
    """Request headers; others than these are not sent."""

    accept: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSignature:
    """A detached signature that the content must bear."""

    pubkey: str = ""
    signature: str = ""


def http(
    url: str,
    *,
    filename: str = "",
    checksum: str = "",
    chmod: int | None = None,
    chown: tuple[int, int] | None = None,
    auth_header_secret: str = "",
    header: HTTPHeader | None = None,
    signature: HTTPSignature | None = None,
    **options: Unpack[Options],
) -> State:
    """A file by HTTP(S), as the only file of its filesystem.

    >>> file = http("https://example.com/tool", filename="tool", chmod=0o755, checksum="sha256:" + "0" * 64)
    >>> file.graph().head.vertex.op.attrs["http.perm"]
    '0755'
    """
    expect("http", "url", url, str)
    attrs: dict[str, str] = {}
    caps = {"source.http"}
    if checksum:
        attrs["http.checksum"] = checksum
        caps.add("source.http.checksum")
    file_attrs(attrs, caps, filename, chmod, chown)
    if auth_header_secret:
        attrs["http.authheadersecret"] = auth_header_secret
        caps.add("source.http.auth")
    if header is not None:
        attrs |= {"http.header.accept": header.accept, "http.header.user-agent": header.user_agent}
        caps.add("source.http.header")
    if signature is not None:
        attrs |= {"http.sig.pubkey": signature.pubkey, "http.sig.signature": signature.signature}
        caps.add("source.http.signatureverify")
    node = SourceNode(
        identifier=url,
        attrs={key: value for key, value in attrs.items() if value},
        caps=tuple(caps),
        constraints=Constraints.of(options),
    )
    return state_of(node)


def file_attrs(
    attrs: dict[str, str], caps: set[str], filename: str, chmod: int | None, chown: tuple[int, int] | None
) -> None:
    """Add the attributes of a source that is one file: its name, mode and owner."""
    if filename:
        attrs["http.filename"] = filename
    if chmod:
        attrs["http.perm"] = f"0{chmod & 0o777:o}"
        caps.add("source.http.perm")
    for key, number in zip(("http.uid", "http.gid"), chown or (), strict=False):
        if number:
            attrs[key] = str(number)
            caps.add("soruce.http.uidgid")
