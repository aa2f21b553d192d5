# SPDX-License-Identifier: Apache-2.0
"""Ops and graphs to wire bytes, deterministically, in the order in which BuildKit writes them.

BuildKit writes the members of a ``oneof`` after all plain fields, so an op is encoded as two messages, one without
and one with nothing but the ``oneof``, and their bytes are concatenated (which protobuf defines as their merge).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, assert_never

from google.protobuf.message import Message

from llbkit.llb.errors import unencodable
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import NO_METADATA, Graph, LinuxResources, Metadata, ProgressGroup
from llbkit.llb.ir.sourcemap import SourceMap
from llbkit.llb.wire import ops_pb2 as pb


def encode_op(
    op: ops.Op | None,
    inputs: Sequence[tuple[str, int]],
    platform: ops.Platform | None = None,
    constraints: Sequence[str] | None = (),
) -> bytes:
    """Return the bytes of one ``pb.Op``. ``inputs`` are (digest, output index); None constraints: not present."""
    plain = pb.Op(inputs=[pb.Input(digest=digest, index=index) for digest, index in inputs])
    if platform is not None:
        plain.platform.CopyFrom(encode_platform(platform))
    if constraints is not None:
        plain.constraints.SetInParent()
        plain.constraints.filter.extend(constraints)
    out = plain.SerializeToString(deterministic=True)
    match op:
        case None:
            pass
        case ops.Source():
            out += _delimited(_SOURCE, _source(op))
        case ops.Build():
            out += _delimited(_BUILD, _build(op))
        case _:
            out += _oneof(op).SerializeToString(deterministic=True)
    return bytes(out)


def encode_platform(platform: ops.Platform) -> pb.Platform:
    """Return the wire message of a platform."""
    return pb.Platform(
        Architecture=platform.architecture,
        OS=platform.os,
        Variant=platform.variant,
        OSVersion=platform.os_version,
        OSFeatures=platform.os_features,
    )


def encode(graph: Graph) -> bytes:
    """Return the bytes of the ``pb.Definition`` of a graph, its terminal op last. Scratch is an empty definition.

    A decoded graph gives the bytes that it was decoded from.

    Raises:
        DefinitionError: a string outside the ops, such as a name, is not UTF-8.
    """
    if graph.wire is not None:
        return graph.wire
    try:
        return _definition(graph)
    except ValueError as error:
        raise unencodable(error) from None


def _definition(graph: Graph) -> bytes:
    if graph.head is None:
        return graph.unknown
    terminal = encode_op(None, [(graph.head.vertex.digest, graph.head.index)], constraints=None)
    metadata = dict(graph.metadata)
    if graph.terminal != NO_METADATA:
        metadata["sha256:" + hashlib.sha256(terminal).hexdigest()] = graph.terminal
    out = [_delimited(1, raw) for raw in (*(vertex.raw for vertex in graph.vertices), terminal)]
    out += [_entry(2, digest, encode_metadata(metadata[digest])) for digest in sorted(metadata)]
    if graph.source_map:
        out.append(_delimited(3, _source_map(graph.source_map)))
    return b"".join([*out, graph.unknown])


def encode_metadata(metadata: Metadata) -> bytes:
    """Return the bytes of a vertex's ``pb.OpMetadata``."""
    out = [_string_map(2, metadata.description)] if metadata.description else []
    if metadata.ignore_cache:
        out.insert(0, _bytes(pb.OpMetadata(ignore_cache=True)))
    if metadata.export_cache is not None:
        out.append(_bytes(pb.OpMetadata(export_cache=pb.ExportCache(Value=metadata.export_cache))))
    if metadata.caps:
        out.append(_caps(metadata.caps))
    if metadata.progress_group is not None:
        out.append(_bytes(pb.OpMetadata(progress_group=_group(metadata.progress_group))))
    if metadata.linux_resources is not None:
        out.append(_bytes(pb.OpMetadata(linux_resources=_resources(metadata.linux_resources))))
    return b"".join([*out, metadata.unknown])


@lru_cache(256)
def _caps(names: tuple[str, ...]) -> bytes:
    """Return the map of caps; the steps of a graph need few different sets of them."""
    return b"".join(_bytes(pb.OpMetadata(caps={name: True})) for name in sorted(names))


# Protobuf's Python runtime orders map keys differently from Go where one is a prefix of the other. Messages with maps are
# therefore put together from pieces: concatenating encoded messages merges them, so each entry is written on its own.
_SOURCE, _BUILD = 3, 5


def _bytes(message: Message) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _string_map(number: int, entries: Mapping[str, str]) -> bytes:
    """Return a map field from strings to strings, keys in order."""
    return b"".join(_entry(number, key, entries[key].encode()) for key in sorted(entries))


def _entry(number: int, key: str, value: bytes) -> bytes:
    """Return one entry of a map from strings to messages."""
    return _delimited(number, _delimited(1, key.encode()) + _delimited(2, value))


def _delimited(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field."""
    size = len(payload)
    if number < 16 and size < 128:
        return bytes((number << 3 | 2, size)) + payload
    return _varint(number << 3 | 2) + _varint(size) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _source(op: ops.Source) -> bytes:
    return _bytes(pb.SourceOp(identifier=op.identifier)) + _string_map(2, op.attrs)


def _group(group: ProgressGroup) -> pb.ProgressGroup:
    return pb.ProgressGroup(id=group.id, name=group.name, weak=group.weak)


def _resources(limits: LinuxResources) -> pb.LinuxResources:
    return pb.LinuxResources(
        memory=limits.memory,
        memorySwap=limits.memory_swap,
        cpuShares=limits.cpu_shares,
        cpuPeriod=limits.cpu_period,
        cpuQuota=limits.cpu_quota,
        cpusetCpus=limits.cpuset_cpus,
        cpusetMems=limits.cpuset_mems,
    )


def _source_map(source_map: SourceMap) -> bytes:
    out = []
    for digest in sorted(source_map.locations):
        entry = pb.Locations()
        for location in source_map.locations[digest]:
            item = entry.locations.add(sourceIndex=location.info)
            for first, left, last, right in location.ranges:
                start, end = pb.Position(line=first, character=left), pb.Position(line=last, character=right)
                item.ranges.add(start=start, end=end)
        out.append(_entry(1, digest, _bytes(entry)))
    for info in source_map.infos:
        payload = _bytes(pb.SourceInfo(filename=info.source.name, data=info.source.data))
        if info.definition is not None:
            payload += _delimited(3, info.definition)
        payload += _bytes(pb.SourceInfo(language=info.source.language)) + info.unknown
        out.append(_delimited(2, payload))
    return b"".join(out)


def _oneof(op: ops.Exec | ops.File | ops.Merge | ops.Diff | ops.Passthrough) -> pb.Op:
    match op:
        case ops.Exec():
            return pb.Op(exec=_exec(op))
        case ops.File():
            return pb.Op(file=pb.FileOp(actions=[_action(action) for action in op.actions]))
        case ops.Merge():
            return pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=i) for i in op.inputs]))
        case ops.Diff():
            lower, upper = pb.LowerDiffInput(input=op.lower), pb.UpperDiffInput(input=op.upper)
            return pb.Op(diff=pb.DiffOp(lower=lower, upper=upper))
        case ops.Passthrough():
            return pb.Op(passthrough=pb.PassthroughOp(id=op.id, outputs=op.outputs))
        case _:
            assert_never(op)


def _enum(value: int) -> Any:
    """Return an enum member as protobuf takes it: a plain integer, which its stubs do not allow for."""
    return int(value)


def _build(op: ops.Build) -> bytes:
    out = [_bytes(pb.BuildOp(builder=op.builder))]
    out += [_entry(2, name, _bytes(pb.BuildInput(input=op.inputs[name]))) for name in sorted(op.inputs)]
    if op.definition is not None:
        out.append(_delimited(3, op.definition))
    return b"".join([*out, _string_map(4, op.attrs)])


def _exec(op: ops.Exec) -> pb.ExecOp:
    return pb.ExecOp(
        meta=_meta(op.meta),
        mounts=[_mount(mount) for mount in op.mounts],
        network=_enum(op.network),
        security=_enum(op.security),
        secretenv=[pb.SecretEnv(ID=s.id, name=s.name, optional=s.optional) for s in op.secret_env],
        cdiDevices=[pb.CDIDevice(name=d.name, optional=d.optional) for d in op.cdi_devices],
    )


def _meta(meta: ops.Meta) -> pb.Meta:
    out = pb.Meta(
        args=meta.args,
        env=meta.env,
        cwd=meta.cwd,
        user=meta.user,
        extraHosts=[pb.HostIP(Host=h.host, IP=h.ip) for h in meta.extra_hosts],
        hostname=meta.hostname,
        ulimit=[pb.Ulimit(Name=u.name, Soft=u.soft, Hard=u.hard) for u in meta.ulimit],
        cgroupParent=meta.cgroup_parent,
        removeMountStubsRecursive=meta.remove_mount_stubs_recursive,
        validExitCodes=meta.valid_exit_codes,
    )
    if meta.proxy_env is not None:
        proxy = meta.proxy_env
        out.proxy_env.CopyFrom(
            pb.ProxyEnv(
                http_proxy=proxy.http_proxy,
                https_proxy=proxy.https_proxy,
                ftp_proxy=proxy.ftp_proxy,
                no_proxy=proxy.no_proxy,
                all_proxy=proxy.all_proxy,
            )
        )
    return out


def _mount(mount: ops.Mount) -> pb.Mount:
    out = pb.Mount(
        input=mount.input,
        selector=mount.selector,
        dest=mount.dest,
        output=mount.output,
        readonly=mount.readonly,
        mountType=_enum(mount.mount_type),
        resultID=mount.result_id,
        contentCache=_enum(mount.content_cache),
    )
    if mount.tmpfs is not None:
        out.TmpfsOpt.CopyFrom(pb.TmpfsOpt(size=mount.tmpfs.size))
    if mount.cache is not None:
        out.cacheOpt.CopyFrom(pb.CacheOpt(ID=mount.cache.id, sharing=_enum(mount.cache.sharing)))
    if (secret := mount.secret) is not None:
        out.secretOpt.CopyFrom(
            pb.SecretOpt(
                ID=secret.id, uid=secret.uid, gid=secret.gid, mode=secret.mode, optional=secret.optional
            )
        )
    if (ssh := mount.ssh) is not None:
        out.SSHOpt.CopyFrom(
            pb.SSHOpt(ID=ssh.id, uid=ssh.uid, gid=ssh.gid, mode=ssh.mode, optional=ssh.optional)
        )
    return out


def _action(action: ops.FileAction) -> pb.FileAction:
    out = pb.FileAction(input=action.input, secondaryInput=action.secondary_input, output=action.output)
    match action.action:
        case ops.Copy() as copy:
            out.copy.CopyFrom(_copy(copy))
        case ops.MkFile() as mkfile:
            out.mkfile.CopyFrom(
                pb.FileActionMkFile(
                    path=mkfile.path,
                    mode=mkfile.mode,
                    data=mkfile.data,
                    owner=_chown(mkfile.owner),
                    timestamp=mkfile.timestamp,
                )
            )
        case ops.MkDir() as mkdir:
            out.mkdir.CopyFrom(
                pb.FileActionMkDir(
                    path=mkdir.path,
                    mode=mkdir.mode,
                    makeParents=mkdir.make_parents,
                    owner=_chown(mkdir.owner),
                    timestamp=mkdir.timestamp,
                )
            )
        case ops.Rm() as rm:
            out.rm.CopyFrom(
                pb.FileActionRm(
                    path=rm.path, allowNotFound=rm.allow_not_found, allowWildcard=rm.allow_wildcard
                )
            )
        case ops.Symlink() as link:
            out.symlink.CopyFrom(
                pb.FileActionSymlink(
                    oldpath=link.oldpath,
                    newpath=link.newpath,
                    owner=_chown(link.owner),
                    timestamp=link.timestamp,
                )
            )
        case _:
            assert_never(action.action)
    return out


def _copy(copy: ops.Copy) -> pb.FileActionCopy:
    return pb.FileActionCopy(
        src=copy.src,
        dest=copy.dest,
        owner=_chown(copy.owner),
        mode=copy.mode,
        followSymlink=copy.follow_symlink,
        dirCopyContents=copy.dir_copy_contents,
        attemptUnpackDockerCompatibility=copy.attempt_unpack,
        createDestPath=copy.create_dest_path,
        allowWildcard=copy.allow_wildcard,
        allowEmptyWildcard=copy.allow_empty_wildcard,
        timestamp=copy.timestamp,
        include_patterns=copy.include_patterns,
        exclude_patterns=copy.exclude_patterns,
        alwaysReplaceExistingDestPaths=copy.always_replace_existing_dest_paths,
        modeStr=copy.mode_str,
        required_paths=copy.required_paths,
    )


def _chown(owner: ops.Chown | None) -> pb.ChownOpt | None:
    if owner is None:
        return None
    out = pb.ChownOpt()
    if owner.user is not None:
        out.user.CopyFrom(_user(owner.user))
    if owner.group is not None:
        out.group.CopyFrom(_user(owner.group))
    return out


def _user(user: ops.UserOpt) -> pb.UserOpt:
    if isinstance(user, int):
        return pb.UserOpt(byID=user)
    return pb.UserOpt(byName=pb.NamedUserOpt(name=user.name, input=user.input))


__all__ = ["encode", "encode_metadata", "encode_op", "encode_platform"]
