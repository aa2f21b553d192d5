# SPDX-License-Identifier: Apache-2.0
"""The mounts of one step: inputs, cache mounts, memory, secrets, agents, and its /etc files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path

from llbkit.llb.ir.ops import Exec, Mount, MountType, NetMode
from llbkit.records import dataclass
from llbkit.worker.base import SCRATCH, ActiveSnapshot, CancelToken, WorkerError
from llbkit.worker.fs import rootpath
from llbkit.worker.host.ssh import forwarded
from llbkit.worker.host.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    unmount,
)
from llbkit.worker.host.syscalls import mount as mount_at
from llbkit.worker.ops.exec.inputs import Inputs
from llbkit.worker.ops.exec.key import normal_path
from llbkit.worker.ops.exec.stubs import Stubs
from llbkit.worker.results import Filesystem
from llbkit.worker.runtime.etcfiles import hosts_file, resolv_conf
from llbkit.worker.runtime.spec import DEFAULT_HOSTNAME, MountSpec, bind
from llbkit.worker.session.base import Session
from llbkit.worker.state.cachemounts import CacheMounts, key_of

_STAYING = ("/dev", "/proc", "/sys")
"""Where every runtime mounts something. What is missing stays in the result, and each would make it in its own way."""

_FILE_OPTIONS = ("nosuid", "nodev", "noexec")
"""Of the files that a step is given: secrets, /etc/hosts, /etc/resolv.conf."""
_MAX_SECRET = 500 << 10
_PERMISSIONS = 0o777
_OPEN_TO_ALL = 0o1777
_NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(slots=True)
class Mounted:
    """The mounts of a running step: its root, the outputs by index, and the runtime's mount list."""

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
        base_of: Callable[[Filesystem], str],
    ) -> None:
        self._op = op
        self._inputs = inputs
        self._session = session
        self._caches = caches
        self._stack = stack
        self._work = work
        self._cancel = cancel
        self._base_of = base_of

    def mount(self, values: Sequence[Filesystem]) -> tuple[Mounted, Stubs]:
        """Prepare every mount, outer places before inner ones; ``values`` are the op's inputs.

        Raises:
            WorkerError: a secret or agent is missing, a selected path does not exist, or there is no place for a mount.
        """
        root_mount = next(mount for mount in self._op.mounts if normal_path(mount.dest) == "/")
        mounted = self._root(root_mount, values)
        stubs = Stubs(mounted.root, recursive=self._op.meta.remove_mount_stubs_recursive)
        self._etc(mounted, stubs)
        held = self._hold_caches(values)
        places = {number: self._destination(mount.dest) for number, mount in enumerate(self._op.mounts)}
        for number in sorted(places, key=places.__getitem__):
            mount, place = self._op.mounts[number], places[number]
            if mount is not root_mount:
                with placing(f"mount {place}"):
                    self._one(number, place, values, held, mounted, stubs)
        for path in _STAYING:
            _make_mount_point(mounted.root, path)
        return mounted, stubs

    def _root(self, mount: Mount, values: Sequence[Filesystem]) -> Mounted:
        value = _value(mount, values)
        active = self._inputs.prepare(SCRATCH if value is None else value)
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
            with placing(f"mount {path}"):
                stubs.add(path, directory=False)
            mounted.specs.append(bind(source, path, readonly=True, options=_FILE_OPTIONS))

    def _one(
        self,
        number: int,
        place: str,
        values: Sequence[Filesystem],
        held: dict[str, Path],
        mounted: Mounted,
        stubs: Stubs,
    ) -> None:
        mount = self._op.mounts[number]
        source: Path | None
        options: tuple[str, ...] = ()
        readonly = mount.readonly
        match mount.mount_type:
            case MountType.TMPFS:
                mounted.specs.append(_tmpfs(mount, place, stubs))
                return
            case MountType.BIND:
                source = self._bind(number, mount, values, mounted)
            case MountType.CACHE:
                source = held[self._cache_key(mount, values)]
            case MountType.SECRET:
                source, readonly, options = self._secret(number, mount), True, _FILE_OPTIONS
            case MountType.SSH:
                source, readonly = self._agent(number, mount), False
        if source is not None:
            stubs.add(place, directory=source.is_dir())
            mounted.specs.append(bind(source, place, readonly=readonly, options=options))

    def _destination(self, path: str) -> str:
        return path if path.startswith("/") else normal_path(os.path.join(self._op.meta.cwd or "/", path))

    def _bind(self, number: int, mount: Mount, values: Sequence[Filesystem], mounted: Mounted) -> Path:
        value = _value(mount, values)
        if mount.readonly:
            return self._sealed(
                number, self._select(self._inputs.view(SCRATCH if value is None else value), mount)
            )
        active = self._inputs.prepare(SCRATCH if value is None else value)
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
                help="check the mount's source= and .dockerignore",
            )
        return path

    def _sealed(self, number: int, source: Path) -> Path:
        """Return a place that shows a directory read-only.

        A runtime makes missing mount points where it finds itself, and it finds itself in what is mounted already: it
        would make them in a layer.
        """
        if not source.is_dir():
            return source
        place = self._work / f"bind-{number}"
        place.mkdir()
        mount_at(os.fspath(source), place, "none", MS_BIND | MS_REC)
        self._stack.callback(unmount, place)
        kept = os.statvfs(place).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount_at("none", place, "none", MS_BIND | MS_REMOUNT | MS_RDONLY | kept)
        return place

    def _hold_caches(self, values: Sequence[Filesystem]) -> dict[str, Path]:
        """Hold the step's caches and return their directories by key.

        A cache that the step names twice is held once, and all are taken in the order of their keys: so a step never
        waits for itself, nor two steps for each other.
        """
        wanted: dict[str, Mount] = {}
        for mount in self._op.mounts:
            if mount.mount_type is MountType.CACHE:
                wanted.setdefault(self._cache_key(mount, values), mount)
        return {key: self._cache(wanted[key], values) for key in sorted(wanted)}

    def _cache_key(self, mount: Mount, values: Sequence[Filesystem]) -> str:
        assert mount.cache is not None, "cache mounts have a cache option"
        return key_of(mount.cache.id, self._cache_base(mount, values))

    def _cache_base(self, mount: Mount, values: Sequence[Filesystem]) -> str:
        value = _value(mount, values)
        return "" if value is None else self._base_of(value) + normal_path(mount.selector)

    def _cache(self, mount: Mount, values: Sequence[Filesystem]) -> Path:
        assert mount.cache is not None, "cache mounts have a cache option"
        value = _value(mount, values)

        def fill(directory: Path) -> None:
            source = self._select(self._inputs.view(SCRATCH if value is None else value), mount)
            _copy_into(source, directory)

        context = self._caches.acquire(
            mount.cache.id,
            mount.cache.sharing,
            self._cancel,
            base=self._cache_base(mount, values),
            fill=fill if value is not None else None,
        )
        return self._stack.enter_context(context)

    def _secret(self, number: int, mount: Mount) -> Path | None:
        assert mount.secret is not None, "secret mounts have a secret option"
        data = secret_value(self._session, mount.secret.id, optional=mount.secret.optional)
        if data is None:
            return None
        path = self._work / f"secret-{number}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.chown(path, mount.secret.uid, mount.secret.gid)
        path.chmod(mount.secret.mode & _PERMISSIONS)
        return path

    def _agent(self, number: int, mount: Mount) -> Path | None:
        assert mount.ssh is not None, "ssh mounts have an ssh option"
        name = mount.ssh.id or "default"
        agent = self._session.agent(name)
        if agent is None:
            if mount.ssh.optional:
                return None
            raise WorkerError(f"SSH agent {name} not provided", help=f"provide it with --ssh {name}")
        options = mount.ssh
        return self._stack.enter_context(
            forwarded(
                agent,
                self._work,
                f"agent-{number}",
                uid=options.uid,
                gid=options.gid,
                mode=options.mode & _PERMISSIONS,
            )
        )


def _value(mount: Mount, values: Sequence[Filesystem]) -> Filesystem | None:
    """Return the input that a mount shows, None for nothing."""
    return values[mount.input] if mount.input >= 0 else None


@contextmanager
def placing(what: str) -> Iterator[None]:
    """Turn an unusable path into the error that ``what`` is impossible.

    Raises:
        WorkerError: instead of an OSError about a path. All others pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise WorkerError(
            f"cannot {what}: {error.strerror}",
            help="check the image: the path leads through a file or a link",
        ) from error


def _tmpfs(mount: Mount, place: str, stubs: Stubs) -> MountSpec:
    """A file system in memory, as open as the directory it covers; a new place is open to all, as is all below /dev."""
    target = stubs.add(place, directory=True, mode=_OPEN_TO_ALL)
    mode = _OPEN_TO_ALL if place.startswith("/dev/") else stat.S_IMODE(target.stat().st_mode)
    size = (f"size={mount.tmpfs.size}",) if mount.tmpfs is not None and mount.tmpfs.size else ()
    options = ("nosuid", f"mode={mode:o}", *size)
    return MountSpec(destination=place, type="tmpfs", source="tmpfs", options=options)


def secret_value(session: Session, name: str, *, optional: bool) -> bytes | None:
    """Return a secret; None if it is optional and not given.

    Raises:
        WorkerError: it is required and not given, cannot be read, or is too large.
    """
    data = session.secret(name)
    if data is None:
        if optional:
            return None
        raise WorkerError(
            f"secret {name} not found",
            help=f"provide it with --secret id={name},src=FILE or --secret id={name},env=VARIABLE",
        )
    if len(data) > _MAX_SECRET:
        raise WorkerError(f"the secret {name} has {len(data)} bytes; the limit is {_MAX_SECRET}")
    return data


def _make_mount_point(root: Path, path: str) -> None:
    try:
        rootpath.make_directories(root, path)
    except (FileExistsError, NotADirectoryError):
        raise WorkerError(
            f"{path} is not a directory in the image",
            help=f"do not copy a file to {path}",
        ) from None


def _copy_into(source: Path, directory: Path) -> None:
    """Copy a tree, its root's owner and mode included."""
    from llbkit.worker.snapshot.native import copy_tree

    if not source.is_dir():
        raise WorkerError(f"the source of a cache mount must be a directory: {source.name}")
    copy_tree(source, directory)
