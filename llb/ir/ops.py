# SPDX-License-Identifier: Apache-2.0
"""The IR: one frozen dataclass for each op of BuildKit's ``pb.Op``, closed under the union `Op`.

Field names are the wire's in snake case. Every default is the value that the wire leaves out, so an op built
with defaults only encodes to the shortest message. An op knows nothing of the vertices it reads: edges live in
`llbkit.llb.ir.graph.Vertex.inputs`, and ``input`` fields below are indexes into that tuple (-1: none, i.e. scratch).

Source: BuildKit ``solver/pb/ops.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from types import MappingProxyType
from typing import TypeAlias

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

    architecture: str
    os: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyEnv:
    """Proxy settings that reach a process without taking part in its cache key."""

    http_proxy: str = ""
    https_proxy: str = ""
    ftp_proxy: str = ""
    no_proxy: str = ""
    all_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIP:
    """One extra line of /etc/hosts."""

    host: str
    ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit, e.g. ``nofile``."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a process is started with. ``env`` holds ``KEY=VALUE`` strings; no valid exit codes means 0 only."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    proxy_env: ProxyEnv | None = None
    extra_hosts: tuple[HostIP, ...] = ()
    hostname: str = ""
    ulimit: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""
    remove_mount_stubs_recursive: bool = False
    valid_exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsOpt:
    """Options of a tmpfs mount; ``size`` in bytes, 0 is the kernel's default."""

    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOpt:
    """Identity and sharing of a cache mount."""

    id: str
    sharing: CacheSharing = CacheSharing.SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOpt:
    """A secret as a file; ``mode`` are permission bits."""

    id: str
    uid: int = 0
    gid: int = 0
    mode: int = 0
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHOpt:
    """A forwarded SSH agent socket."""

    id: str
    uid: int = 0
    gid: int = 0
    mode: int = 0
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount of an exec. ``dest`` "/" is the root; ``output`` -1 means its changes are not a result."""

    dest: str
    input: int = 0
    selector: str = ""
    output: int = 0
    readonly: bool = False
    mount_type: MountType = MountType.BIND
    tmpfs: TmpfsOpt | None = None
    cache: CacheOpt | None = None
    secret: SecretOpt | None = None
    ssh: SSHOpt | None = None
    result_id: str = ""
    content_cache: ContentCache = ContentCache.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretEnv:
    """A secret as the environment variable ``name``."""

    id: str
    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CDIDevice:
    """A device by its CDI name, ``vendor/class=device``."""

    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Run a process. Outputs are the mounts with ``output`` >= 0, in that order."""

    meta: Meta
    mounts: tuple[Mount, ...]
    network: NetMode = NetMode.UNSET
    security: SecurityMode = SecurityMode.SANDBOX
    secret_env: tuple[SecretEnv, ...] = ()
    cdi_devices: tuple[CDIDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something from outside: ``docker-image:// oci-layout:// git:// http(s):// local://`` and blobs."""

    identifier: str
    attrs: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedUser:
    """A user or group by name, looked up in the ``/etc/passwd`` or ``/etc/group`` of op input ``input``."""

    name: str
    input: int = 0


UserOpt: TypeAlias = NamedUser | int
"""A user or group: by name, or by numeric id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chown:
    """Owner of a file action's result; None keeps the default."""

    user: UserOpt | None = None
    group: UserOpt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Copy ``src`` of the secondary input to ``dest``. ``mode`` -1 keeps modes, ``timestamp`` -1 keeps times.

    ``timestamp`` is in nanoseconds since 1970. ``mode_str`` is symbolic (``u+x``) and wins over ``mode``.
    """

    src: str
    dest: str
    owner: Chown | None = None
    mode: int = 0
    follow_symlink: bool = False
    dir_copy_contents: bool = False
    attempt_unpack: bool = False
    create_dest_path: bool = False
    allow_wildcard: bool = False
    allow_empty_wildcard: bool = False
    timestamp: int = 0
    include_patterns: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()
    always_replace_existing_dest_paths: bool = False
    mode_str: str = ""
    required_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MkFile:
    """Create or replace a regular file. ``timestamp`` -1 means now."""

    path: str
    mode: int = 0
    data: bytes = b""
    owner: Chown | None = None
    timestamp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MkDir:
    """Create a directory, with its parents if ``make_parents``."""

    path: str
    mode: int = 0
    make_parents: bool = False
    owner: Chown | None = None
    timestamp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rm:
    """Remove a path and all below it."""

    path: str
    allow_not_found: bool = False
    allow_wildcard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """Create ``newpath`` as a symbolic link to ``oldpath``."""

    oldpath: str
    newpath: str
    owner: Chown | None = None
    timestamp: int = 0


Action: TypeAlias = Copy | MkFile | MkDir | Rm | Symlink


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAction:
    """One step of a file op.

    ``input`` and ``secondary_input``: 0..n-1 is an op input, n+k the result of action k, -1 scratch (with n the
    number of op inputs). ``output`` is the op's result index, -1 for intermediate results.
    """

    action: Action
    input: int = 0
    secondary_input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A chain of file actions that runs without a process."""

    actions: tuple[FileAction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Lay the inputs over each other, the first at the bottom."""

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What ``upper`` changes over ``lower``; -1 is scratch."""

    lower: int
    upper: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Solve the definition in a file of the input. ``inputs`` maps names to op input indexes."""

    builder: int = -1
    inputs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    definition: bytes | None = None
    attrs: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passthrough:
    """Return some inputs unchanged, so that the others are solved for their effect only."""

    id: str
    outputs: tuple[int, ...]


Op: TypeAlias = Exec | Source | File | Build | Merge | Diff | Passthrough
"""The closed union of ops; match on it and end with ``assert_never``."""
