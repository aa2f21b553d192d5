# SPDX-License-Identifier: Apache-2.0
"""The IR: one frozen dataclass for each op of BuildKit's ``pb.Op``, closed under the union `Op`.

Field names are the wire's in snake case; what else is to be known of a field stands in its annotation
(`llbkit.llb.ir.fields`). Every default is the value that the wire leaves out, so an op built
with defaults only encodes to the shortest message. An op knows nothing of the vertices it reads: edges live in
`llbkit.llb.ir.graph.Vertex.inputs`, and ``input`` fields below are indexes into that tuple (-1: none, i.e. scratch).

Source: BuildKit ``solver/pb/ops.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, ClassVar, TypeAlias

from llbkit.llb.ir.fields import Called, Head, InputNumber, Line, Needs, OneOf, Spoken, Usual, Wire
from llbkit.records import dataclass

EMPTY: Mapping[str, str] = MappingProxyType({})


class NetMode(IntEnum):
    """Network of an exec: ``UNSET`` is the sandbox default."""

    UNSET = 0
    HOST = 1
    NONE = 2


class SecurityMode(IntEnum):
    """Confinement of an exec."""

    SANDBOX = 0
    INSECURE = 1


class MountType(IntEnum):
    """What is mounted into an exec."""

    BIND = 0
    SECRET = 1
    SSH = 2
    CACHE = 3
    TMPFS = 4


class ContentCache(IntEnum):
    """Whether a mount's content takes part in the content key of its exec."""

    DEFAULT = 0
    ON = 1
    OFF = 2


class CacheSharing(IntEnum):
    """How concurrent execs use one cache mount."""

    SHARED = 0
    PRIVATE = 1
    LOCKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An OCI platform; ``os_version`` and ``os_features`` are used by Windows images only."""

    architecture: Annotated[str, Wire(1, "Architecture"), Head(1)]
    os: Annotated[str, Wire(2, "OS"), Head(0)]
    variant: Annotated[str, Wire(3, "Variant"), Head(2)] = ""
    os_version: Annotated[str, Wire(4, "OSVersion")] = ""
    os_features: Annotated[tuple[str, ...], Wire(5, "OSFeatures")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyEnv:
    """Proxy settings that reach a process without taking part in its cache key."""

    http_proxy: Annotated[str, Wire(1)] = ""
    https_proxy: Annotated[str, Wire(2)] = ""
    ftp_proxy: Annotated[str, Wire(3)] = ""
    no_proxy: Annotated[str, Wire(4)] = ""
    all_proxy: Annotated[str, Wire(5)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIP:
    """One extra line of /etc/hosts."""

    host: Annotated[str, Wire(1, "Host"), Head(0)]
    ip: Annotated[str, Wire(2, "IP"), Head(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit, e.g. ``nofile``."""

    name: Annotated[str, Wire(1, "Name"), Head(0)]
    soft: Annotated[int, Wire(2, "Soft"), Head(1)]
    hard: Annotated[int, Wire(3, "Hard"), Head(2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a process is started with. ``env`` holds ``KEY=VALUE`` strings; no valid exit codes means 0 only."""

    args: Annotated[tuple[str, ...], Wire(1), Spoken()]
    env: Annotated[tuple[str, ...], Wire(2), Line("env")] = ()
    cwd: Annotated[str, Wire(3), Line("cwd"), Usual("/")] = ""
    user: Annotated[str, Wire(4), Line("user")] = ""
    proxy_env: Annotated[ProxyEnv | None, Wire(5), Needs("exec.meta.proxyenv")] = None
    extra_hosts: Annotated[tuple[HostIP, ...], Wire(6, "extraHosts"), Line("host")] = ()
    hostname: Annotated[str, Wire(7)] = ""
    ulimit: Annotated[tuple[Ulimit, ...], Wire(9), Line("ulimit"), Needs("exec.meta.ulimit")] = ()
    cgroup_parent: Annotated[str, Wire(10, "cgroupParent")] = ""
    remove_mount_stubs_recursive: Annotated[bool, Wire(11, "removeMountStubsRecursive"), Usual(True)] = False
    valid_exit_codes: Annotated[
        tuple[int, ...], Wire(12, "validExitCodes", "int32"), Needs("exec.validexitcode")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsOpt:
    """Options of a tmpfs mount; ``size`` in bytes, 0 is the kernel's default."""

    size: Annotated[int, Wire(1), Needs("exec.mount.tmpfs.size")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOpt:
    """Identity and sharing of a cache mount."""

    id: Annotated[str, Wire(1, "ID")]
    sharing: Annotated[
        CacheSharing, Wire(2, kind="CacheSharingOpt"), Needs("exec.mount.cache.sharing", always=True)
    ] = CacheSharing.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOpt:
    """A secret as a file; ``mode`` are permission bits."""

    id: Annotated[str, Wire(1, "ID")]
    uid: Annotated[int, Wire(2, kind="uint32")] = 0
    gid: Annotated[int, Wire(3, kind="uint32")] = 0
    mode: Annotated[int, Wire(4, kind="uint32"), Usual(0o400)] = 0
    optional: Annotated[bool, Wire(5)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHOpt:
    """A forwarded SSH agent socket."""

    id: Annotated[str, Wire(1, "ID")]
    uid: Annotated[int, Wire(2, kind="uint32")] = 0
    gid: Annotated[int, Wire(3, kind="uint32")] = 0
    mode: Annotated[int, Wire(4, kind="uint32"), Usual(0o600)] = 0
    optional: Annotated[bool, Wire(5)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount of an exec. ``dest`` "/" is the root; ``output`` -1 means its changes are not a result."""

    dest: Annotated[str, Wire(3), Head()]
    input: Annotated[int, Wire(1), InputNumber(), Spoken()] = 0
    selector: Annotated[str, Wire(2), Needs("exec.mount.selector")] = ""
    output: Annotated[int, Wire(4), Spoken()] = 0
    readonly: Annotated[bool, Wire(5)] = False
    mount_type: Annotated[MountType, Wire(6, "mountType"), Spoken()] = MountType.BIND
    tmpfs: Annotated[TmpfsOpt | None, Wire(19, "TmpfsOpt"), Needs("exec.mount.tmpfs")] = None
    cache: Annotated[CacheOpt | None, Wire(20, "cacheOpt"), Needs("exec.mount.cache")] = None
    secret: Annotated[SecretOpt | None, Wire(21, "secretOpt"), Needs("exec.mount.secret")] = None
    ssh: Annotated[SSHOpt | None, Wire(22, "SSHOpt"), Needs("exec.mount.ssh")] = None
    result_id: Annotated[str, Wire(23, "resultID")] = ""
    content_cache: Annotated[
        ContentCache, Wire(24, "contentCache", "MountContentCache"), Needs("exec.mount.cache.content")
    ] = ContentCache.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretEnv:
    """A secret as the environment variable ``name``."""

    id: Annotated[str, Wire(1, "ID")]
    name: Annotated[str, Wire(2), Head()]
    optional: Annotated[bool, Wire(3)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CDIDevice:
    """A device by its CDI name, ``vendor/class=device``."""

    name: Annotated[str, Wire(1), Head()]
    optional: Annotated[bool, Wire(2)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Run a process. Outputs are the mounts with ``output`` >= 0, in that order."""

    MESSAGE: ClassVar[str] = "ExecOp"
    meta: Annotated[Meta, Wire(1), Spoken()]
    mounts: Annotated[tuple[Mount, ...], Wire(2), Line("mount")]
    network: Annotated[NetMode, Wire(3), Needs("exec.meta.network")] = NetMode.UNSET
    security: Annotated[SecurityMode, Wire(4), Needs("exec.meta.security")] = SecurityMode.SANDBOX
    secret_env: Annotated[
        tuple[SecretEnv, ...], Wire(5, "secretenv"), Line("secret-env"), Needs("exec.secretenv")
    ] = ()
    cdi_devices: Annotated[
        tuple[CDIDevice, ...], Wire(6, "cdiDevices"), Line("device"), Needs("exec.meta.cdi")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something from outside: ``docker-image:// oci-layout:// git:// http(s):// local://`` and blobs."""

    MESSAGE: ClassVar[str] = "SourceOp"
    identifier: Annotated[str, Wire(1), Head()]
    attrs: Annotated[Mapping[str, str], Wire(2), Line("attr")] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedUser:
    """A user or group by name, looked up in the ``/etc/passwd`` or ``/etc/group`` of op input ``input``."""

    MESSAGE: ClassVar[str] = "NamedUserOpt"
    name: Annotated[str, Wire(1)]
    input: Annotated[int, Wire(2), InputNumber()] = 0


UserOpt: TypeAlias = NamedUser | int
"""A user or group: by name, or by numeric id."""
_USER = OneOf("user", {NamedUser: (1, "byName"), int: (2, "byID", "uint32")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Chown:
    """Owner of a file action's result; None keeps the default."""

    MESSAGE: ClassVar[str] = "ChownOpt"
    user: Annotated[UserOpt | None, Wire(1, box="UserOpt", oneof=_USER)] = None
    group: Annotated[UserOpt | None, Wire(2, box="UserOpt", oneof=_USER)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Copy ``src`` of the secondary input to ``dest``. ``mode`` -1 keeps modes, ``timestamp`` -1 keeps times.

    ``timestamp`` is in nanoseconds since 1970. ``mode_str`` is symbolic (``u+x``) and wins over ``mode``.
    """

    MESSAGE: ClassVar[str] = "FileActionCopy"
    src: Annotated[str, Wire(1), Head(0)]
    dest: Annotated[str, Wire(2), Head(1)]
    owner: Annotated[Chown | None, Wire(3), Spoken()] = None
    mode: Annotated[int, Wire(4, kind="int32"), Usual(-1)] = 0
    follow_symlink: Annotated[bool, Wire(5, "followSymlink")] = False
    dir_copy_contents: Annotated[bool, Wire(6, "dirCopyContents")] = False
    attempt_unpack: Annotated[bool, Wire(7, "attemptUnpackDockerCompatibility")] = False
    create_dest_path: Annotated[bool, Wire(8, "createDestPath")] = False
    allow_wildcard: Annotated[bool, Wire(9, "allowWildcard")] = False
    allow_empty_wildcard: Annotated[bool, Wire(10, "allowEmptyWildcard")] = False
    timestamp: Annotated[int, Wire(11), Usual(-1)] = 0
    include_patterns: Annotated[tuple[str, ...], Wire(12)] = ()
    exclude_patterns: Annotated[tuple[str, ...], Wire(13)] = ()
    always_replace_existing_dest_paths: Annotated[bool, Wire(14, "alwaysReplaceExistingDestPaths")] = False
    mode_str: Annotated[str, Wire(15, "modeStr")] = ""
    required_paths: Annotated[tuple[str, ...], Wire(16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MkFile:
    """Create or replace a regular file. ``timestamp`` -1 means now."""

    MESSAGE: ClassVar[str] = "FileActionMkFile"
    path: Annotated[str, Wire(1), Head()]
    mode: Annotated[int, Wire(2, kind="int32"), Usual(0o644)] = 0
    data: Annotated[bytes, Wire(3), Spoken()] = b""
    owner: Annotated[Chown | None, Wire(4), Spoken()] = None
    timestamp: Annotated[int, Wire(5), Usual(-1)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MkDir:
    """Create a directory, with its parents if ``make_parents``."""

    MESSAGE: ClassVar[str] = "FileActionMkDir"
    path: Annotated[str, Wire(1), Head()]
    mode: Annotated[int, Wire(2, kind="int32"), Usual(0o755)] = 0
    make_parents: Annotated[bool, Wire(3, "makeParents")] = False
    owner: Annotated[Chown | None, Wire(4), Spoken()] = None
    timestamp: Annotated[int, Wire(5), Usual(-1)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rm:
    """Remove a path and all below it."""

    MESSAGE: ClassVar[str] = "FileActionRm"
    path: Annotated[str, Wire(1), Head()]
    allow_not_found: Annotated[bool, Wire(2, "allowNotFound")] = False
    allow_wildcard: Annotated[bool, Wire(3, "allowWildcard")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """Create ``newpath`` as a symbolic link to ``oldpath``."""

    MESSAGE: ClassVar[str] = "FileActionSymlink"
    oldpath: Annotated[str, Wire(1), Head(1)]
    newpath: Annotated[str, Wire(2), Head(0)]
    owner: Annotated[Chown | None, Wire(3), Spoken()] = None
    timestamp: Annotated[int, Wire(4), Usual(-1)] = 0


Action: TypeAlias = Copy | MkFile | MkDir | Rm | Symlink
ACTIONS = OneOf(
    "action",
    {Copy: (4, "copy"), MkFile: (5, "mkfile"), MkDir: (6, "mkdir"), Rm: (7, "rm"), Symlink: (8, "symlink")},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAction:
    """One step of a file op.

    ``input`` and ``secondary_input``: 0..n-1 is an op input, n+k the result of action k, -1 scratch (with n the
    number of op inputs). ``output`` is the op's result index, -1 for intermediate results.
    """

    action: Annotated[Action, Wire(oneof=ACTIONS), Spoken()]
    input: Annotated[int, Wire(1), InputNumber(), Spoken()] = 0
    secondary_input: Annotated[int, Wire(2, "secondaryInput"), InputNumber(), Spoken()] = 0
    output: Annotated[int, Wire(3), Spoken()] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A chain of file actions that runs without a process."""

    MESSAGE: ClassVar[str] = "FileOp"
    actions: Annotated[tuple[FileAction, ...], Wire(2), Spoken()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Lay the inputs over each other, the first at the bottom."""

    MESSAGE: ClassVar[str] = "MergeOp"
    inputs: Annotated[tuple[int, ...], Wire(1, box="MergeInput"), InputNumber(), Spoken(), Called("layers")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What ``upper`` changes over ``lower``; -1 is scratch."""

    MESSAGE: ClassVar[str] = "DiffOp"
    lower: Annotated[int, Wire(1, box="LowerDiffInput"), InputNumber(), Spoken()]
    upper: Annotated[int, Wire(2, box="UpperDiffInput"), InputNumber(), Spoken()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Solve the definition in a file of the input. ``inputs`` maps names to op input indexes."""

    MESSAGE: ClassVar[str] = "BuildOp"
    builder: Annotated[int, Wire(1), InputNumber(), Line("builder")] = -1
    inputs: Annotated[Mapping[str, int], Wire(2, box="BuildInput"), InputNumber(), Line("input")] = field(
        default_factory=lambda: MappingProxyType({})
    )
    definition: Annotated[bytes | None, Wire(3, "def", embeds="Definition"), Line("definition")] = None
    attrs: Annotated[Mapping[str, str], Wire(4), Line("attr")] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passthrough:
    """Return some inputs unchanged, so that the others are solved for their effect only."""

    MESSAGE: ClassVar[str] = "PassthroughOp"
    id: Annotated[str, Wire(1), Head()]
    outputs: Annotated[tuple[int, ...], Wire(2), InputNumber(), Spoken()]


Op: TypeAlias = Exec | Source | File | Build | Merge | Diff | Passthrough
"""The closed union of ops; match on it and end with ``assert_never``."""

OPS = OneOf(
    "op",
    {
        Exec: (2, "exec"),
        Source: (3, "source"),
        File: (4, "file"),
        Build: (5, "build"),
        Merge: (6, "merge"),
        Diff: (7, "diff"),
        Passthrough: (8, "passthrough"),
    },
)
"""Where each op stands in ``pb.Op``."""
