# SPDX-License-Identifier: Apache-2.0
"""Ops and platforms from their wire messages."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.wire import ops_pb2 as pb
from llbkit.llb.wire.scan import payloads


def platform_of(message: pb.Platform) -> ops.Platform:
    """Return the platform of a message."""
    return ops.Platform(
        architecture=message.Architecture,
        os=message.OS,
        variant=message.Variant,
        os_version=message.OSVersion,
        os_features=tuple(message.OSFeatures),
    )


def op_of(message: pb.Op, name: str, raw: bytes) -> ops.Op:
    """Return the op of a message, read from ``raw``; errors call it ``name``.

    Raises:
        DefinitionError: not an op that this version knows, or a field of it makes no sense.
    """
    kind = message.WhichOneof("op")
    try:
        match kind:
            case "exec":
                return _exec(message.exec)
            case "source":
                return ops.Source(identifier=message.source.identifier, attrs=dict(message.source.attrs))
            case "file":
                return ops.File(actions=tuple(_action(a, n) for n, a in enumerate(message.file.actions)))
            case "build":
                return _build(message.build, raw)
            case "merge":
                return ops.Merge(inputs=tuple(i.input for i in message.merge.inputs))
            case "diff":
                return _diff(message.diff)
            case "passthrough":
                return ops.Passthrough(id=message.passthrough.id, outputs=tuple(message.passthrough.outputs))
            case _:
                raise DefinitionError("unknown op")
    except DefinitionError as error:
        raise DefinitionError(f"op {name}: {error}") from None


_Member = TypeVar("_Member", bound=IntEnum)


def _enum(kind: type[_Member], value: int, path: str) -> _Member:
    """Return an enum member; ``path`` is the field as the ``.proto`` file names it."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(f"{member.value} ({member.name})" for member in kind)
        raise DefinitionError(f"{path}: unknown value {value}, expected one of {known}") from None


def _diff(message: pb.DiffOp) -> ops.Diff:
    for side in ("lower", "upper"):
        if not message.HasField(side):
            raise DefinitionError(f"missing diff.{side}")
    return ops.Diff(lower=message.lower.input, upper=message.upper.input)


def _build(message: pb.BuildOp, raw: bytes) -> ops.Build:
    nested = [
        held
        for op in payloads(raw, pb.Op.BUILD_FIELD_NUMBER)
        for held in payloads(op, pb.BuildOp.DEF_FIELD_NUMBER)
    ]
    return ops.Build(
        builder=message.builder,
        inputs={name: item.input for name, item in message.inputs.items()},
        definition=nested_bytes(getattr(message, "def"), nested) if message.HasField("def") else None,
        attrs=dict(message.attrs),
    )


def _exec(message: pb.ExecOp) -> ops.Exec:
    return ops.Exec(
        meta=_meta(message.meta),
        mounts=tuple(_mount(mount, f"exec.mounts[{number}]") for number, mount in enumerate(message.mounts)),
        network=_enum(ops.NetMode, message.network, "exec.network"),
        security=_enum(ops.SecurityMode, message.security, "exec.security"),
        secret_env=tuple(ops.SecretEnv(id=s.ID, name=s.name, optional=s.optional) for s in message.secretenv),
        cdi_devices=tuple(ops.CDIDevice(name=d.name, optional=d.optional) for d in message.cdiDevices),
    )


def _meta(meta: pb.Meta) -> ops.Meta:
    proxy = None
    if meta.HasField("proxy_env"):
        p = meta.proxy_env
        proxy = ops.ProxyEnv(
            http_proxy=p.http_proxy,
            https_proxy=p.https_proxy,
            ftp_proxy=p.ftp_proxy,
            no_proxy=p.no_proxy,
            all_proxy=p.all_proxy,
        )
    return ops.Meta(
        args=tuple(meta.args),
        env=tuple(meta.env),
        cwd=meta.cwd,
        user=meta.user,
        proxy_env=proxy,
        extra_hosts=tuple(ops.HostIP(host=h.Host, ip=h.IP) for h in meta.extraHosts),
        hostname=meta.hostname,
        ulimit=tuple(ops.Ulimit(name=u.Name, soft=u.Soft, hard=u.Hard) for u in meta.ulimit),
        cgroup_parent=meta.cgroupParent,
        remove_mount_stubs_recursive=meta.removeMountStubsRecursive,
        valid_exit_codes=tuple(meta.validExitCodes),
    )


def _mount(mount: pb.Mount, path: str) -> ops.Mount:
    tmpfs = ops.TmpfsOpt(size=mount.TmpfsOpt.size) if mount.HasField("TmpfsOpt") else None
    cache = secret = ssh = None
    if mount.HasField("cacheOpt"):
        sharing = _enum(ops.CacheSharing, mount.cacheOpt.sharing, f"{path}.cacheOpt.sharing")
        cache = ops.CacheOpt(id=mount.cacheOpt.ID, sharing=sharing)
    if mount.HasField("secretOpt"):
        s = mount.secretOpt
        secret = ops.SecretOpt(id=s.ID, uid=s.uid, gid=s.gid, mode=s.mode, optional=s.optional)
    if mount.HasField("SSHOpt"):
        h = mount.SSHOpt
        ssh = ops.SSHOpt(id=h.ID, uid=h.uid, gid=h.gid, mode=h.mode, optional=h.optional)
    return ops.Mount(
        dest=mount.dest,
        input=mount.input,
        selector=mount.selector,
        output=mount.output,
        readonly=mount.readonly,
        mount_type=_enum(ops.MountType, mount.mountType, f"{path}.mountType"),
        tmpfs=tmpfs,
        cache=cache,
        secret=secret,
        ssh=ssh,
        result_id=mount.resultID,
        content_cache=_enum(ops.ContentCache, mount.contentCache, f"{path}.contentCache"),
    )


def _action(message: pb.FileAction, number: int) -> ops.FileAction:
    action: ops.Action
    match message.WhichOneof("action"):
        case "copy":
            action = _copy(message.copy)
        case "mkfile":
            f = message.mkfile
            action = ops.MkFile(path=f.path, mode=f.mode, data=f.data, owner=_chown(f), timestamp=f.timestamp)
        case "mkdir":
            d = message.mkdir
            action = ops.MkDir(
                path=d.path, mode=d.mode, make_parents=d.makeParents, owner=_chown(d), timestamp=d.timestamp
            )
        case "rm":
            r = message.rm
            action = ops.Rm(path=r.path, allow_not_found=r.allowNotFound, allow_wildcard=r.allowWildcard)
        case "symlink":
            link = message.symlink
            action = ops.Symlink(
                oldpath=link.oldpath, newpath=link.newpath, owner=_chown(link), timestamp=link.timestamp
            )
        case _:
            raise DefinitionError(f"file.actions[{number}]: unknown action")
    return ops.FileAction(
        action=action, input=message.input, secondary_input=message.secondaryInput, output=message.output
    )


def _copy(copy: pb.FileActionCopy) -> ops.Copy:
    return ops.Copy(
        src=copy.src,
        dest=copy.dest,
        owner=_chown(copy),
        mode=copy.mode,
        follow_symlink=copy.followSymlink,
        dir_copy_contents=copy.dirCopyContents,
        attempt_unpack=copy.attemptUnpackDockerCompatibility,
        create_dest_path=copy.createDestPath,
        allow_wildcard=copy.allowWildcard,
        allow_empty_wildcard=copy.allowEmptyWildcard,
        timestamp=copy.timestamp,
        include_patterns=tuple(copy.include_patterns),
        exclude_patterns=tuple(copy.exclude_patterns),
        always_replace_existing_dest_paths=copy.alwaysReplaceExistingDestPaths,
        mode_str=copy.modeStr,
        required_paths=tuple(copy.required_paths),
    )


def _chown(
    message: pb.FileActionCopy | pb.FileActionMkFile | pb.FileActionMkDir | pb.FileActionSymlink,
) -> ops.Chown | None:
    if not message.HasField("owner"):
        return None
    owner = message.owner
    return ops.Chown(
        user=_user(owner.user) if owner.HasField("user") else None,
        group=_user(owner.group) if owner.HasField("group") else None,
    )


def _user(user: pb.UserOpt) -> ops.UserOpt | None:
    match user.WhichOneof("user"):
        case "byName":
            return ops.NamedUser(name=user.byName.name, input=user.byName.input)
        case "byID":
            return int(user.byID)
        case _:
            return None


def nested_bytes(message: pb.Definition, raw: Sequence[bytes]) -> bytes:
    """Return the bytes of a definition inside something else as they are in ``raw``, where it stands once."""
    return raw[0] if len(raw) == 1 else message.SerializeToString(deterministic=True)
