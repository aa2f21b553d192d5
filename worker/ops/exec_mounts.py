# SPDX-License-Identifier: Apache-2.0
"""Everything that is mounted into one step: inputs, cache mounts, memory, secrets, agents, and its /etc files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from llb.ops import Exec, Mount, MountType, NetMode
from worker import rootpath
from worker.base import ActiveSnapshot, CancelToken, Session, WorkerError
from worker.cachemounts import CacheMounts
from worker.ops.exec_inputs import Inputs
from worker.ops.exec_key import normal_path
from worker.ops.exec_stubs import Stubs
from worker.runtime.etcfiles import hosts_file, resolv_conf
from worker.runtime.spec import DEFAULT_HOSTNAME, MountSpec, bind
from worker.ssh import forwarded

_STAYING = ("/dev", "/proc", "/sys")
"""Where every runtime mounts something. What is missing stays in the result, and each would make it in its own way."""

_SECRET_OPTIONS = ("nosuid", "nodev", "noexec")
_MAX_SECRET = 500 << 10


@dataclass(slots=True)
class Mounted:
    """The mounts of a running step: its root, the outputs by index, and what the runtime is told."""

    root: Path
    outputs: dict[int, ActiveSnapshot] = field(default_factory=dict)
    specs: list[MountSpec] = field(default_factory=list)
    readonly_root: bool = False


class Mounting:
    """Prepares the mounts of one step; whatever is opened is on ``stack``.

    ``work`` is a directory in memory; ``base_of`` names the content that a cache mount starts from.
    """

    def __init__(
        self,
        op: Exec,
        inputs: Inputs,
        session: Session,
        caches: CacheMounts,
        stack: ExitStack,
        work: Path,
        cancel: CancelToken,
        base_of: Callable[[object], str],
    ) -> None:
        self._op = op
        self._inputs = inputs
        self._session = session
        self._caches = caches
        self._stack = stack
        self._work = work
        self._cancel = cancel
        self._base_of = base_of

    def mount(self, values: list[object]) -> tuple[Mounted, Stubs]:
        """Prepare every mount; ``values`` are the results of the op's inputs.

        Raises:
            WorkerError: a secret or agent is missing, or a selected path does not exist.
        """
        root_mount = next(mount for mount in self._op.mounts if normal_path(mount.dest) == "/")
        mounted = self._root(root_mount, values)
        stubs = Stubs(mounted.root, recursive=self._op.meta.remove_mount_stubs_recursive)
        self._etc(mounted, stubs)
        for number, mount in enumerate(self._op.mounts):
            if mount is root_mount:
                continue
            spec, directory = self._one(number, mount, values, mounted)
            if spec is not None:
                stubs.add(spec.destination, directory=directory)
                mounted.specs.append(spec)
        for path in _STAYING:
            rootpath.make_directories(mounted.root, path)
        return mounted, stubs

    def _root(self, mount: Mount, values: list[object]) -> Mounted:
        value = values[mount.input] if mount.input >= 0 else None
        active = self._inputs.prepare(value)
        mounted = Mounted(root=active.path, readonly_root=mount.readonly)
        if mount.output >= 0 and not mount.readonly:
            mounted.outputs[mount.output] = active
        return mounted

    def _etc(self, mounted: Mounted, stubs: Stubs) -> None:
        meta = self._op.meta
        host_network = self._op.network is not NetMode.NONE
        texts = {
            "/etc/hosts": hosts_file(meta.hostname or DEFAULT_HOSTNAME, meta.extra_hosts),
            "/etc/resolv.conf": resolv_conf(host_network=host_network),
        }
        for path, text in texts.items():
            source = self._work / path.rpartition("/")[2]
            source.write_text(text, encoding="utf-8")
            source.chmod(0o644)
            stubs.add(path, directory=False)
            mounted.specs.append(bind(source, path, readonly=True))

    def _one(
        self, number: int, mount: Mount, values: list[object], mounted: Mounted
    ) -> tuple[MountSpec | None, bool]:
        dest = self._destination(mount.dest)
        match mount.mount_type:
            case MountType.BIND:
                source = self._bind(mount, values, mounted)
                return bind(source, dest, readonly=mount.readonly), source.is_dir()
            case MountType.CACHE:
                source = self._cache(mount, values)
                return bind(source, dest, readonly=mount.readonly), source.is_dir()
            case MountType.TMPFS:
                size = mount.tmpfs.size if mount.tmpfs is not None else 0
                mode = "mode=1777" if dest == "/dev/shm" else "mode=755"
                options = ("nosuid", "nodev", mode, *((f"size={size}",) if size else ()))
                return MountSpec(destination=dest, type="tmpfs", source="tmpfs", options=options), True
            case MountType.SECRET:
                source_or_none = self._secret(number, mount)
                if source_or_none is None:
                    return None, False
                return bind(source_or_none, dest, readonly=True, options=_SECRET_OPTIONS), False
            case MountType.SSH:
                socket = self._agent(number, mount)
                return (None if socket is None else bind(socket, dest, readonly=False)), False

    def _destination(self, path: str) -> str:
        return path if path.startswith("/") else normal_path(os.path.join(self._op.meta.cwd or "/", path))

    def _bind(self, mount: Mount, values: list[object], mounted: Mounted) -> Path:
        value = values[mount.input] if mount.input >= 0 else None
        if mount.readonly:
            return self._select(self._inputs.view(value), mount)
        active = self._inputs.prepare(value)
        if mount.output >= 0:
            mounted.outputs[mount.output] = active
        return self._select(active.path, mount)

    def _select(self, root: Path, mount: Mount) -> Path:
        if normal_path(mount.selector) == "/":
            return root
        path = rootpath.resolve(root, mount.selector)
        if not os.path.lexists(path):
            raise WorkerError(
                f"cannot mount {mount.dest}: {mount.selector} does not exist in its source",
                help="check source= of the mount, and that .dockerignore does not exclude it",
            )
        return path

    def _cache(self, mount: Mount, values: list[object]) -> Path:
        assert mount.cache is not None, "a cache mount names its cache"
        value = values[mount.input] if mount.input >= 0 else None

        def fill(directory: Path) -> None:
            source = self._select(self._inputs.view(value), mount)
            _copy_into(source, directory)

        base = self._base_of(value) + (normal_path(mount.selector) if value is not None else "")
        context = self._caches.acquire(
            mount.cache.id,
            mount.cache.sharing,
            self._cancel,
            base=base if value is not None else "",
            fill=fill if value is not None else None,
        )
        return self._stack.enter_context(context)

    def _secret(self, number: int, mount: Mount) -> Path | None:
        assert mount.secret is not None, "a secret mount names its secret"
        data = secret_value(self._session, mount.secret.id, optional=mount.secret.optional)
        if data is None:
            return None
        path = self._work / f"secret-{number}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.chown(path, mount.secret.uid, mount.secret.gid)
        path.chmod(mount.secret.mode)
        return path

    def _agent(self, number: int, mount: Mount) -> Path | None:
        assert mount.ssh is not None, "an ssh mount names its agent"
        name = mount.ssh.id or "default"
        agent = self._session.ssh.get(name)
        if agent is None:
            if mount.ssh.optional:
                return None
            raise WorkerError(f"the step needs the SSH agent {name}", help=f"pass it with --ssh {name}")
        options = mount.ssh
        return self._stack.enter_context(
            forwarded(
                agent, self._work, f"agent-{number}", uid=options.uid, gid=options.gid, mode=options.mode
            )
        )


def secret_value(session: Session, name: str, *, optional: bool) -> bytes | None:
    """Return a secret; None if it is optional and not given.

    Raises:
        WorkerError: it is required and not given, cannot be read, or is too large.
    """
    read = session.secrets.get(name)
    if read is None:
        if optional:
            return None
        raise WorkerError(
            f"the step needs the secret {name}",
            help=f"pass it with --secret id={name},src=FILE or --secret id={name},env=VARIABLE",
        )
    try:
        data = read()
    except (OSError, KeyError) as error:
        raise WorkerError(
            f"the secret {name} cannot be read: {error}", help="check src= or env= of --secret"
        ) from error
    if len(data) > _MAX_SECRET:
        raise WorkerError(f"the secret {name} has {len(data)} bytes; at most {_MAX_SECRET} are allowed")
    return data


def _copy_into(source: Path, directory: Path) -> None:
    """Copy a tree, its root's owner and mode included."""
    import shutil

    if source.is_dir():
        shutil.copytree(source, directory, symlinks=True, dirs_exist_ok=True, copy_function=_copy_file)
        for folder, names, files in os.walk(source):
            for name in (*names, *files, "."):
                there = os.path.normpath(os.path.join(folder, name))
                here = os.path.join(directory, os.path.relpath(there, source))
                status = os.lstat(there)
                os.chown(here, status.st_uid, status.st_gid, follow_symlinks=False)
        shutil.copymode(source, directory)
    else:
        raise WorkerError(f"a cache mount cannot start from {source.name}, which is no directory")


def _copy_file(source: str, target: str) -> None:
    import shutil

    shutil.copy2(source, target, follow_symlinks=False)
