# SPDX-License-Identifier: Apache-2.0
"""The cache key of an exec: a digest of the readable ingredients that can affect its result.

Left out, as in BuildKit: proxies, resource limits, export hints, the addresses of extra hosts (their names are in), the
ids and sharing of cache mounts (what lies in a cache is no part of the key either). The cgroup's parent is left out, too.
Of secrets only the id and the place are in, never the value. An input counts by definition where the step may write to it and the outcome is kept (the root), and by
content where it is only looked at.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping

from llbkit.llb.ir.graph import Vertex
from llbkit.llb.ir.ops import ContentCache, Exec, Mount, MountType, Platform
from llbkit.solver.ports import CacheMap, InputKey, Json

_VERSION = "llbkit.exec.2"
_SEPARATOR = "\n"


def cache_map(vertex: Vertex, op: Exec, platform: Platform) -> CacheMap:
    """Return the key of ``op`` as run on ``platform``."""
    ingredients = _ingredients(op, platform)
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"))
    return CacheMap(
        digest="sha256:" + hashlib.sha256(f"{_VERSION}\n{text}".encode()).hexdigest(),
        inputs=tuple(_input_key(op, index) for index in range(len(vertex.inputs))),
        ingredients=ingredients,
    )


def selectors(op: Exec, index: int) -> tuple[str, ...]:
    """Return the paths of input ``index`` that the op mounts, sorted; "/" is all of it."""
    return tuple(sorted({normal_path(m.selector) for m in op.mounts if uses(m, index)}))


def uses(mount: Mount, index: int) -> bool:
    """Return whether ``mount`` shows input ``index``."""
    return mount.input == index and mount.mount_type in (MountType.BIND, MountType.CACHE)


def normal_path(path: str) -> str:
    """Return ``path`` absolute and clean; "" is "/"."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _input_key(op: Exec, index: int) -> InputKey:
    mounts = [mount for mount in op.mounts if uses(mount, index)]
    paths = selectors(op, index)
    selector = "" if paths in ((), ("/",)) else _SEPARATOR.join(paths)
    return InputKey(selector=selector, content=bool(mounts) and all(_counts_by_content(m) for m in mounts))


def _counts_by_content(mount: Mount) -> bool:
    """BuildKit's rule: not if the step may change what is kept of it, unless the op says otherwise."""
    if mount.content_cache is not ContentCache.DEFAULT:
        return mount.content_cache is ContentCache.ON
    kept = mount.output != -1 and mount.mount_type is MountType.BIND
    return not (kept and (not mount.readonly or normal_path(mount.dest) == "/"))


def _ingredients(op: Exec, platform: Platform) -> Mapping[str, Json]:
    meta = op.meta
    out: dict[str, Json] = {
        "kind": "exec",
        "args": list(meta.args),
        "env": list(meta.env),
        "cwd": meta.cwd,
        "user": meta.user,
        "hostname": meta.hostname,
        "hosts": [entry.host for entry in meta.extra_hosts],
        "ulimits": [f"{limit.name}={limit.soft}:{limit.hard}" for limit in meta.ulimit],
        "valid_exit_codes": list(meta.valid_exit_codes),
        "network": op.network.name.lower(),
        "security": op.security.name.lower(),
        "platform": _platform(platform),
        "mounts": [_mount(mount) for mount in op.mounts],
        "secret_env": [_named(s.name, s.id, optional=s.optional) for s in op.secret_env],
        "devices": [_named(device.name, "", optional=device.optional) for device in op.cdi_devices],
    }
    if not meta.remove_mount_stubs_recursive:
        out["parents_of_mounts"] = "kept"
    return {key: value for key, value in out.items() if value not in ("", [])}


def _platform(platform: Platform) -> str:
    parts = (platform.os, platform.architecture, platform.variant, platform.os_version, *platform.os_features)
    return "/".join(parts).rstrip("/")


def _named(name: str, identity: str, *, optional: bool) -> str:
    text = f"{name}={identity}" if identity else name
    return f"{text} (optional)" if optional else text


def _mount(mount: Mount) -> Json:
    out: dict[str, Json] = {"type": mount.mount_type.name.lower(), "dest": mount.dest}
    match mount.mount_type:
        case MountType.BIND | MountType.CACHE:
            out |= {"input": mount.input, "selector": mount.selector, "readonly": mount.readonly}
            out["output"] = mount.output
        case MountType.TMPFS:
            out["size"] = mount.tmpfs.size if mount.tmpfs is not None else 0
        case MountType.SECRET | MountType.SSH:
            options = mount.secret if mount.mount_type is MountType.SECRET else mount.ssh
            if options is not None:
                out |= {"id": options.id, "owner": f"{options.uid}:{options.gid}", "mode": oct(options.mode)}
                out["optional"] = options.optional
    return out
