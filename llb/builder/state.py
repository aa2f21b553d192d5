# SPDX-License-Identifier: Apache-2.0
"""`State`: an immutable, chainable description of a filesystem and of the settings for the next step on it.

Names, defaults and digests are those of BuildKit's ``client/llb``.

>>> from llbkit.llb import scratch
>>> graph = scratch().mkdir("/app").mkfile("/app/hello", "hi").graph(platform="linux/amd64")
>>> [vertex.digest[:14] for vertex in graph]
['sha256:cbe11d0', 'sha256:2d61bed']
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, NoReturn, TypeAlias, Unpack

from llbkit.llb.builder.arguments import expect, expect_all
from llbkit.llb.builder.execs import ExecNode, split
from llbkit.llb.builder.files import ActionSpec, Chain, FileNode, Owner, copy, mkdir, mkfile, rm, symlink
from llbkit.llb.builder.mounts import AnyMount, MountSpec, SecretSpec, SSHSpec
from llbkit.llb.builder.nodes import Base, GraphNode, Output, assemble
from llbkit.llb.builder.options import Constraints, Options, as_platform
from llbkit.llb.builder.settings import Change, LazySettings, canonical_ip, image_settings
from llbkit.llb.ir import ops
from llbkit.llb.ir import platform as platforms
from llbkit.llb.ir.graph import Graph, Metadata
from llbkit.llb.ir.ops import HostIP, NetMode, Platform, ProxyEnv, SecurityMode, Ulimit
from llbkit.records import dataclass

Command: TypeAlias = str | Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A filesystem (``output`` None: empty) and the ``settings`` that the next step starts with.

    Every method returns a new state. Steps take the keyword options of `llbkit.llb.builder.options.Options`.
    """

    output: Output | None = None
    settings: LazySettings = field(default_factory=LazySettings)

    def __repr__(self) -> str:
        if self.output is None:
            return f"<{type(self).__name__} scratch>"
        node = self.output.node
        kind = type(node).__name__.strip("_").removesuffix("Node").lower()
        detail = getattr(node, "identifier", "") or " ".join(getattr(node, "args", ()))
        return f"<{type(self).__name__} {kind} {detail[:60]}".rstrip() + ">"

    def _repr_svg_(self) -> str:
        return self.graph()._repr_svg_()

    def __copy__(self) -> State:
        return self

    def __deepcopy__(self, memo: object) -> State:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a State cannot be pickled, its platform may be open: pickle state.graph(platform=...)"
        )

    # -- settings

    def _set(self, change: Change) -> State:
        return State(self.output, self.settings.then(change))

    def env(self, key: str, value: str) -> State:
        """Set a variable for the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").env("LANG", "C").run("env").graph().head.vertex.op.meta.env[-1]
        'LANG=C'
        """
        expect("env", "key", key, str)
        expect("env", "value", value, str)
        return self._set(lambda settings: settings.with_env(key, value))

    def envs(self, values: Mapping[str, str]) -> State:
        """Set variables for the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").envs({"LANG": "C", "TZ": "UTC"}).run("env").graph().head.vertex.op.meta.env
        ('LANG=C', 'TZ=UTC')
        """
        given = dict(values)
        for key, value in given.items():
            expect("envs", "values", key, str)
            expect("envs", f"values[{key!r}]", value, str)
        return self._set(lambda settings: settings.with_envs(given))

    def dir(self, path: str) -> State:
        """Change the working directory; relative to the current one.

        >>> from llbkit.llb import scratch
        >>> scratch().dir("/srv").dir("app").mkfile("hello", "hi").graph().head.vertex.op.actions[0].action.path
        '/srv/app/hello'
        """
        expect("dir", "path", path, str)
        return self._set(lambda settings: settings.with_dir(path))

    def user(self, name: str) -> State:
        """Run what follows as ``user[:group]``.

        >>> from llbkit.llb import image
        >>> image("alpine").user("daemon").run("id").graph().head.vertex.op.meta.user
        'daemon'
        """
        expect("user", "name", name, str)
        return self._set(lambda settings: settings.set(user=name))

    def hostname(self, name: str) -> State:
        """Set the host name of the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").hostname("builder").run("hostname").graph().head.vertex.op.meta.hostname
        'builder'
        """
        expect("hostname", "name", name, str)
        return self._set(lambda settings: settings.set(hostname=name))

    def network(self, mode: NetMode) -> State:
        """Set the network of the steps that follow.

        >>> from llbkit.llb import image
        >>> from llbkit.llb.ir import ops
        >>> image("alpine").network(ops.NetMode.NONE).run("ip link").graph().head.vertex.op.network.name
        'NONE'
        """
        return self._set(lambda settings: settings.set(network=mode))

    def security(self, mode: SecurityMode) -> State:
        """Set the confinement of the steps that follow.

        >>> from llbkit.llb import image
        >>> from llbkit.llb.ir import ops
        >>> free = image("alpine").security(ops.SecurityMode.INSECURE)
        >>> free.run("mount").graph().head.vertex.op.security.name
        'INSECURE'
        """
        return self._set(lambda settings: settings.set(security=mode))

    def platform(self, value: Platform | str) -> State:
        """Fix the platform of the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").platform("linux/arm64").run("uname -m").graph().head.vertex.platform.architecture
        'arm64'
        """
        return self._set(lambda settings: settings.set(platform=as_platform(value)))

    def add_extra_host(self, host: str, ip: str) -> State:
        """Add a line to /etc/hosts of the steps that follow.

        >>> from llbkit.llb import image
        >>> step = image("alpine").add_extra_host("db", "10.0.0.5").run("ping -c1 db")
        >>> step.graph().head.vertex.op.meta.extra_hosts
        (HostIP(host='db', ip='10.0.0.5'),)
        """
        entry = HostIP(host=host, ip=canonical_ip(ip))
        return self._set(lambda s: s.set(extra_hosts=(*s.extra_hosts, entry)))

    def add_ulimit(self, name: str, soft: int, hard: int) -> State:
        """Add a resource limit for the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").add_ulimit("nofile", 1024, 4096).run("ulimit -n").graph().head.vertex.op.meta.ulimit
        (Ulimit(name='nofile', soft=1024, hard=4096),)
        """
        return self._set(lambda s: s.set(ulimit=(*s.ulimit, Ulimit(name=name, soft=soft, hard=hard))))

    def cgroup_parent(self, path: str) -> State:
        """Set the parent cgroup of the steps that follow.

        >>> from llbkit.llb import image
        >>> image("alpine").cgroup_parent("builds").run("true").graph().head.vertex.op.meta.cgroup_parent
        'builds'
        """
        return self._set(lambda settings: settings.set(cgroup_parent=path))

    def reset(self, other: State) -> State:
        """Return this filesystem with the settings of another state.

        As in BuildKit's client, either the platform of the step that made it is kept, if that had one of its own, or
        the directory is "/" again.

        >>> from llbkit.llb import image, scratch
        >>> done = image("alpine").env("A", "1").run("make").root.reset(scratch())
        >>> [item for item in done.run("env").graph().head.vertex.op.meta.env if item.startswith("A=")]
        []
        """
        platform = self.output.node.fixed_platform if self.output is not None else None
        if platform is not None:
            return State(self.output, other.settings.then(lambda settings: settings.set(platform=platform)))
        return State(self.output, other.settings.then(lambda settings: settings.set(dir="/")))

    def with_output(self, output: Output | None) -> State:
        """Return another filesystem with these settings; a platform fixed by the step that made it is taken over.

        >>> from llbkit.llb import image, scratch
        >>> image("alpine").dir("/app").with_output(None).mkfile("a", "").graph().head.vertex.inputs
        ()
        """
        settings = self.settings
        if output is not None and (platform := output.node.fixed_platform) is not None:
            settings = settings.then(lambda s: s.set(platform=platform))
        return State(output, settings)

    def with_image_config(self, config: bytes | str) -> State:
        """Take environment, directory and platform from an image config (JSON); its user is not taken, as in BuildKit.

        Raises:
            StateError: not an image config.

        >>> from llbkit.llb import image
        >>> configured = image("alpine").with_image_config('{"config": {"Env": ["A=1"], "WorkingDir": "/app"}}')
        >>> configured.run("env").graph().head.vertex.op.meta.cwd
        '/app'
        """
        change = image_settings(config)
        return self._set(change)

    def image_config(self, *, platform: Platform | str | None = None) -> dict[str, Any] | None:
        """Return the config of an image made of this state: that of its base, with the environment and directory set here.

        The user is the one set here, or else the base's. None if the state does not know its base's config.

        >>> from llbkit.llb import image
        >>> base = '{"os": "linux", "architecture": "amd64", "config": {"Env": ["A=1"], "Cmd": ["sh"], "User": "app"}}'
        >>> image("alpine").with_image_config(base).env("B", "2").dir("/srv").image_config()["config"]
        {'Env': ['A=1', 'B=2'], 'Cmd': ['sh'], 'User': 'app', 'WorkingDir': '/srv'}
        """
        settings = self.settings.at(as_platform(platform) or platforms.default())
        if not settings.image:
            return None
        config: dict[str, Any] = json.loads(settings.image)
        inner = dict(config.get("config") or {})
        inner["Env"] = [f"{key}={value}" for key, value in settings.env]
        inner["WorkingDir"] = settings.dir
        if settings.user:
            inner["User"] = settings.user
        return {**config, "config": inner}

    # -- steps

    def run(
        self,
        command: Command,
        *,
        mounts: Sequence[AnyMount] = (),
        env: Mapping[str, str] | None = None,
        dir: str | None = None,  # noqa: A002
        user: str | None = None,
        hostname: str | None = None,
        network: NetMode | None = None,
        security: SecurityMode | None = None,
        extra_hosts: Mapping[str, str] | None = None,
        ulimits: Sequence[Ulimit] = (),
        cgroup_parent: str | None = None,
        readonly_root: bool = False,
        proxy: ProxyEnv | None = None,
        valid_exit_codes: Sequence[int] = (),
        devices: Sequence[ops.CDIDevice] = (),
        **options: Unpack[Options],
    ) -> ExecState:
        """Run a process; the result is the filesystem after it.

        A text is split into words as a shell does, but no shell runs it: see `llbkit.llb.sh`. Settings given here hold for
        this process only.

        >>> from llbkit.llb import bind, cache, image, local
        >>> step = image("golang").run("go build -o /out/app .", dir="/src", mounts=[
        ...     bind(local("context"), "/src"),
        ...     bind(None, "/out", readonly=False),
        ...     cache("/root/.cache"),
        ... ])
        >>> step.at("/out").graph().head.index  # the root is output 0, /out is the next
        1
        >>> image("alpine").run("echo 'two words'").graph().head.vertex.op.meta.args
        ('echo', 'two words')
        """
        if not isinstance(command, str):
            expect_all("run", "command", command, str)
        expect_all("run", "mounts", mounts, MountSpec, SecretSpec, SSHSpec)
        for key, value in (env or {}).items():
            expect("run", f"env[{key!r}]", value, str)
        settings = self.settings
        fields = {"user": user, "hostname": hostname, "network": network, "security": security}
        given = {
            key: value
            for key, value in {**fields, "cgroup_parent": cgroup_parent}.items()
            if value is not None
        }
        if given:
            settings = settings.then(lambda s: s.set(**given))
        if dir is not None:
            settings = settings.then(lambda s: s.with_dir(dir))
        for key, value in (env or {}).items():
            settings = settings.then(lambda s, key=key, value=value: s.with_env(key, value))  # type: ignore[misc]
        hosts = tuple(HostIP(host=host, ip=ip) for host, ip in (extra_hosts or {}).items())
        if hosts or ulimits:
            limits = tuple(ulimits)
            settings = settings.then(
                lambda s: s.set(extra_hosts=(*s.extra_hosts, *hosts), ulimit=(*s.ulimit, *limits))
            )
        root = MountSpec(target="/", source=self if self.output is not None else None, readonly=readonly_root)
        node = ExecNode(
            args=split(command) if isinstance(command, str) else tuple(command),
            settings=settings,
            mounts=(root, *mounts),
            constraints=Constraints.of(options),
            proxy=proxy,
            valid_exit_codes=tuple(valid_exit_codes),
            devices=tuple(devices),
        )
        return ExecState.of(self, node)

    def file(self, *actions: ActionSpec, **options: Unpack[Options]) -> State:
        """Apply file actions, one after the other, in one step.

        >>> from llbkit.llb import scratch
        >>> from llbkit.llb.builder.files import mkdir, mkfile
        >>> state = scratch().file(mkdir("/etc"), mkfile("/etc/motd", "hello"), name="greet")
        >>> len(state.graph().head.vertex.op.actions)
        2
        """
        expect_all("file", "actions", actions, ActionSpec)
        node = FileNode(chain=Chain(self, actions), constraints=Constraints.of(options))
        return self.with_output(Output(node))

    def copy(
        self,
        source: State | Chain,
        src: str,
        dest: str,
        *,
        mode: int | str | None = None,
        owner: Owner = None,
        created: int = -1,
        follow_symlinks: bool = False,
        dir_contents: bool = False,
        unpack: bool = False,
        create_dest_path: bool = False,
        wildcard: bool = False,
        empty_wildcard: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        required: Sequence[str] = (),
        replace_existing: bool = False,
        **options: Unpack[Options],
    ) -> State:
        """Copy ``src`` of another state to ``dest``; see `llbkit.llb.builder.files.copy`.

        >>> from llbkit.llb import local, scratch
        >>> app = scratch().copy(local("context"), "*.py", "/app/", wildcard=True, create_dest_path=True, owner="1000:1000")
        >>> app.graph().head.vertex.op.actions[0].action.dest
        '/app/'
        """
        expect("copy", "source", source, State, Chain)
        action = copy(
            source,
            src,
            dest,
            mode=mode,
            owner=owner,
            created=created,
            follow_symlinks=follow_symlinks,
            dir_contents=dir_contents,
            unpack=unpack,
            create_dest_path=create_dest_path,
            wildcard=wildcard,
            empty_wildcard=empty_wildcard,
            include=include,
            exclude=exclude,
            required=required,
            replace_existing=replace_existing,
        )
        return self.file(action, **options)

    def mkdir(
        self,
        path: str,
        mode: int = 0o755,
        *,
        parents: bool = False,
        owner: Owner = None,
        created: int = -1,
        **options: Unpack[Options],
    ) -> State:
        """Create a directory.

        >>> from llbkit.llb import scratch
        >>> oct(scratch().mkdir("/var/lib/app", 0o700, parents=True).graph().head.vertex.op.actions[0].action.mode)
        '0o700'
        """
        return self.file(mkdir(path, mode, parents=parents, owner=owner, created=created), **options)

    def mkfile(
        self,
        path: str,
        data: bytes | str,
        mode: int = 0o644,
        *,
        owner: Owner = None,
        created: int = -1,
        **options: Unpack[Options],
    ) -> State:
        """Create or replace a file.

        >>> from llbkit.llb import scratch
        >>> scratch().mkfile("/etc/hostname", "box").graph().head.vertex.op.actions[0].action.data
        b'box'
        """
        return self.file(mkfile(path, data, mode, owner=owner, created=created), **options)

    def rm(
        self,
        path: str,
        *,
        allow_not_found: bool = False,
        allow_wildcard: bool = False,
        **options: Unpack[Options],
    ) -> State:
        """Remove a path and all below it.

        >>> from llbkit.llb import image
        >>> slim = image("alpine").rm("/var/cache/*", allow_wildcard=True, allow_not_found=True)
        >>> slim.graph().head.vertex.op.actions[0].action.path
        '/var/cache/*'
        """
        return self.file(rm(path, allow_not_found=allow_not_found, allow_wildcard=allow_wildcard), **options)

    def symlink(
        self,
        oldpath: str,
        newpath: str,
        *,
        owner: Owner = None,
        created: int = -1,
        **options: Unpack[Options],
    ) -> State:
        """Create a symbolic link.

        >>> from llbkit.llb import scratch
        >>> scratch().symlink("python3", "/bin/python").graph().head.vertex.op.actions[0].action.newpath
        '/bin/python'
        """
        return self.file(symlink(oldpath, newpath, owner=owner, created=created), **options)

    # -- ends

    def graph(
        self,
        *,
        platform: Platform | str | None = None,
        caps: frozenset[str] | None = None,
        local_unique_id: str = "",
        require: Sequence[str] = (),
        description: Mapping[str, str] | None = None,
        ignore_cache: bool = False,
    ) -> Graph:
        """Return the digested, verified graph for a platform (default: this machine's).

        ``caps`` are the receiver's capabilities, where they matter; ``local_unique_id`` tells apart local directories
        of different clients; the other options hold for every vertex.

        Raises:
            StateError: a step makes no sense.

        >>> from llbkit.llb import image, wire
        >>> graph = image("alpine").run("true").graph(platform="linux/amd64")
        >>> [type(vertex.op).__name__ for vertex in graph]
        ['Source', 'Exec']
        >>> len(wire.decode(wire.encode(graph)))  # what `buildctl build` reads
        2
        """
        metadata = Metadata(ignore_cache=ignore_cache, description=dict(description or {}))
        constraints = Constraints(platform=as_platform(platform), metadata=metadata, require=tuple(require))
        return assemble(self.output, Base(constraints=constraints, caps=caps, unique=local_unique_id))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExecState(State):
    """The state after a process, and the way to its other results."""

    node: ExecNode | None = field(default=None, repr=False)
    before: State = field(default_factory=State, repr=False)

    @classmethod
    def of(cls, before: State, node: ExecNode) -> ExecState:
        """Return the state after ``node`` ran on ``before``."""
        after = before.with_output(_mount_output(node, "/"))
        return cls(after.output, after.settings, node, before)

    @property
    def root(self) -> State:
        """The root filesystem after the process.

        >>> from llbkit.llb import image
        >>> image("alpine").run("apk add make").root.run("make").graph().head.vertex.op.meta.args
        ('make',)
        """
        return State(self.output, self.settings)

    def at(self, target: str) -> State:
        """Return the filesystem of the mount at ``target`` after the process; a read-only one is its source.

        >>> from llbkit.llb import bind, image
        >>> image("alpine").run("make", mounts=[bind(None, "/out", readonly=False)]).at("/out").graph().head.index
        1
        """
        assert self.node is not None, "made by State.run"
        return self.root.with_output(_mount_output(self.node, target))

    def add_mount(self, mount: MountSpec) -> ExecState:
        """Return the same process with one more mount.

        >>> from llbkit.llb import cache, image
        >>> step = image("alpine").run("make").add_mount(cache("/cache"))
        >>> [mount.dest for mount in step.graph().head.vertex.op.mounts]
        ['/', '/cache']
        """
        assert self.node is not None, "made by State.run"
        return ExecState.of(self.before, replace(self.node, mounts=(*self.node.mounts, mount)))


def _mount_output(node: ExecNode, target: str) -> Output | None:
    for mount in node.binds():
        if mount.target == target and mount.readonly:
            return mount.source.output if mount.source is not None else None
    return Output(node, target)


def from_graph(graph: Graph) -> State:
    """Return the state of a finished graph, on the platform of its head; its vertices keep their bytes.

    >>> from llbkit.llb import image, wire
    >>> received = wire.encode(image("alpine").graph())
    >>> from_graph(wire.decode(received)).run("true").graph().head.vertex.op.meta.args
    ('true',)
    """
    return State().with_output(GraphNode.head(graph))


def scratch() -> State:
    """Return the empty filesystem.

    >>> scratch().graph().head is None
    True
    """
    return State()


def sh(command: str) -> tuple[str, ...]:
    """Return the arguments that run ``command`` in /bin/sh.

    >>> sh("make && make test")
    ('/bin/sh', '-c', 'make && make test')
    """
    return ("/bin/sh", "-c", command)
