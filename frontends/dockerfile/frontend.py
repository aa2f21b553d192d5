# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile frontend: reads the program through a bridge and returns lazy results."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from frontends.base import Bridge, BuildResult, PlatformResult, ResolveMode
from frontends.dockerfile import errors
from frontends.dockerfile.ast import ParsedFile
from frontends.dockerfile.ignore import read_patterns
from frontends.dockerfile.instructions import parse_stages
from frontends.dockerfile.lower.context import ContextNode, context_state
from frontends.dockerfile.lower.plan import Plan
from frontends.dockerfile.lower.stage import Options, StageState
from frontends.dockerfile.parse import parse
from grammar import Source
from llb import git, http, image, local, oci_layout
from llb import platform as platforms
from llb.graph import LinuxResources
from llb.ops import HostIP, Platform, ProxyEnv, Ulimit
from llb.options import Constraints, SourceText
from llb.options import Options as StepOptions
from llb.reference import InvalidReferenceError
from llb.reference import parse as parse_reference
from llb.state import State

LANGUAGE = "Dockerfile"
_GIT = re.compile(r"^(?:git://|git@|ssh://|github\.com/)|^https?://[^?#]*\.git(?:[?#].*)?$")


class DockerfileFrontend:
    """``docker/dockerfile`` in process. One object may build many times and concurrently."""

    name = "dockerfile.v0"

    async def build(self, bridge: Bridge) -> BuildResult:
        """Read the Dockerfile through ``bridge`` and return lazy results.

        Raises:
            grammar.DiagnosticError: the program is wrong.
            frontends.base.ResolveError: a base image cannot be resolved.
        """
        reader = _Reader(bridge)
        text, state = await reader.dockerfile()
        file = parse(text)
        ignored = await reader.ignored()
        targets = _targets(bridge)
        multi = len(targets) > 1 or bridge.options.get("multi-platform", "") in ("1", "true")
        results = []
        for target in targets:
            build = _PlatformBuild(bridge, file, SourceText(text, state), target, multi, ignored)
            results.append(await build.result())
        metadata = {}
        if epoch := bridge.options.get("build-arg:SOURCE_DATE_EPOCH"):
            metadata["source.date.epoch"] = epoch.encode()
        return BuildResult(results=tuple(results), multi=multi, metadata=metadata)


def _targets(bridge: Bridge) -> list[Platform | None]:
    text = bridge.options.get("platform", "")
    if not text:
        return [None]
    out: list[Platform | None] = []
    for part in text.split(","):
        try:
            out.append(platforms.parse(part))
        except platforms.PlatformError as error:
            raise errors.plain(f"failed to parse target platform {part}: {error}") from None
    return out


class _Reader:
    """Reads the Dockerfile and the ignore file, from local directories or a remote context."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._filename = bridge.options.get("filename") or "Dockerfile"
        self._remote = _remote(bridge.options)
        self._state: State | None = None

    async def dockerfile(self) -> tuple[Source, State]:
        """Return the Dockerfile's text and the state it was read from."""
        state = self._source()
        ref = await self._bridge.solve(state)
        names = [self._filename]
        if self._filename == "Dockerfile":
            names.append("dockerfile")
        for name in names:
            try:
                data = await self._bridge.read_file(ref, name)
            except FileNotFoundError:
                continue
            if not data:
                raise errors.plain(
                    "the Dockerfile cannot be empty", code="empty", hint="begin with FROM image"
                )
            return Source.from_bytes(name, data, LANGUAGE), state
        raise errors.plain(
            f"failed to read dockerfile: open {self._filename}: no such file or directory",
            code="no-dockerfile",
            hint=f"make a file {self._filename} in the build context, or name another with --file",
        )

    def _source(self) -> State:
        if self._remote is not None and "dockerfilekey" not in self._bridge.options:
            return self._remote
        name = self._bridge.options.get("dockerfilekey") or "dockerfile"
        paths = [self._filename, f"{self._filename}.dockerignore"]
        if self._filename.rpartition("/")[2] == "Dockerfile":
            paths.append(self._filename.removesuffix("Dockerfile") + "dockerfile")
        return local(
            name,
            session_id=self._bridge.session_id,
            follow_paths=paths,
            shared_key_hint=name,
            differ="none",
            name=f"[internal] load build definition from {self._filename}",
        )

    async def ignored(self) -> tuple[str, ...]:
        """Return the patterns of ``<Dockerfile>.dockerignore``, else of ``.dockerignore``."""
        if self._remote is not None:
            return ()
        own = await self._try(self._source(), f"{self._filename}.dockerignore")
        if own is None:
            name = self._bridge.options.get("contextkey") or "context"
            state = local(
                name,
                session_id=self._bridge.session_id,
                follow_paths=[".dockerignore"],
                shared_key_hint=f"{name}-.dockerignore",
                differ="none",
                name="[internal] load .dockerignore",
            )
            own = await self._try(state, ".dockerignore")
        return tuple(read_patterns(own.decode("utf-8", "surrogateescape"))) if own else ()

    async def _try(self, state: State, path: str) -> bytes | None:
        try:
            return await self._bridge.read_file(await self._bridge.solve(state), path)
        except FileNotFoundError:
            return None


def remote_context(options: Mapping[str, str]) -> State | None:
    """Return the state of a git or HTTP build context, or of its subdirectory; None if it is a local directory."""
    found = _remote(options)
    folder = options.get("contextsubdir", "")
    if found is None or not folder:
        return found
    return State().copy(found, posixpath.join("/", folder), "/", dir_contents=True)


def _remote(options: Mapping[str, str]) -> State | None:
    where = options.get("context", "")
    if _GIT.search(where):
        keep = options.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in ("1", "true")
        return git(
            where.partition("#")[0],
            where.partition("#")[2],
            keep_git_dir=keep,
            name=f"[internal] load git source {where}",
        )
    if where.startswith(("http://", "https://")):
        archive = http(where, filename="context", name="[internal] load remote build context")
        return State().copy(
            archive, "/context", "/", unpack=True, name="[internal] unpack remote build context"
        )
    return None


@dataclass(slots=True)
class _PlatformBuild:
    """The build of one target platform."""

    bridge: Bridge
    file: ParsedFile
    text: SourceText
    target: Platform | None
    multi: bool
    ignored: tuple[str, ...]

    async def result(self) -> PlatformResult:
        """Lower the file and return its lazy result."""
        options = self._options()
        stages, global_args = parse_stages(self.file)
        if not stages:
            raise errors.plain(
                "dockerfile contains no stages to build", code="no-stage", hint="begin with FROM image"
            )
        paths: set[str] = set()
        remote = remote_context(self.bridge.options)
        context = remote if remote is not None else self._context(paths)
        no_cache = self.bridge.options.get("no-cache")
        plan = Plan(
            file=self.file,
            stages=stages,
            global_args=global_args,
            options=options,
            bases=_Bases(self.bridge),
            target=self.bridge.options.get("target", ""),
            no_cache=None
            if no_cache is None
            else frozenset(part for part in no_cache.lower().split(",") if part),
            context=context,
            paths=paths,
        )
        final = await plan.lower()
        self._labels(final)
        platform = final.target if self.target is None else self.target
        ref = await self.bridge.solve(final.state, platform=options.target_platform)
        return PlatformResult(
            id=platforms.format(platform),
            platform=platform,
            ref=ref,
            config=final.image.encode(),
            base_config=final.base_image,
        )

    def _labels(self, final: StageState) -> None:
        given = {
            k.removeprefix("label:"): v for k, v in self.bridge.options.items() if k.startswith("label:")
        }
        if given:
            final.image.config["Labels"] = {**(final.image.config.get("Labels") or {}), **given}

    def _context(self, paths: set[str]) -> State:
        name = self.bridge.options.get("contextkey") or "context"
        node = ContextNode(
            name=name,
            session_id=self.bridge.session_id,
            ignored=self.ignored,
            shared_key_hint=name,
            title="[internal] load build context",
            paths=paths,
            constraints=Constraints.of(StepOptions(name="[internal] load build context")),
        )
        return context_state(node)

    def _options(self) -> Options:
        options = self.bridge.options
        build_args = {
            k.removeprefix("build-arg:"): v for k, v in options.items() if k.startswith("build-arg:")
        }
        build = self.bridge.build_platforms[0]
        target = self.target or build
        return Options(
            escape=self.file.escape,
            text=self.text,
            build_args=build_args,
            global_args=_platform_args(build, target, options.get("target", ""), build_args),
            target_platform=target,
            build_platform=build,
            implicit_target=self.target is None,
            multi=self.multi,
            resolve_mode=_resolve_mode(options),
            epoch=_epoch(build_args),
            extra_hosts=_hosts(options.get("add-hosts", "")),
            ulimits=_ulimits(options.get("ulimit", "")),
            shm_size=_integer("shm-size", options),
            cgroup_parent=options.get("cgroup-parent", ""),
            network=options.get("force-network-mode", ""),
            hostname=options.get("hostname", "") or build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
            resources=_resources(options),
            proxy=_proxy(build_args),
            cache_namespace=build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
            caps=self.bridge.caps,
        )


def _resolve_mode(options: Mapping[str, str]) -> ResolveMode:
    match options.get("image-resolve-mode"):
        case "pull":
            return "pull"
        case "local":
            return "local"
        case _:
            return "default"


def _platform_args(
    build: Platform, target: Platform, stage: str, build_args: Mapping[str, str]
) -> dict[str, str]:
    out: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        out[f"{prefix}PLATFORM"] = platforms.format(platform)
        out[f"{prefix}OS"] = platform.os
        out[f"{prefix}OSVERSION"] = platform.os_version
        out[f"{prefix}ARCH"] = platform.architecture
        out[f"{prefix}VARIANT"] = platform.variant
    out["TARGETSTAGE"] = stage or "default"
    return {key: build_args.get(key, value) for key, value in out.items()}


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise errors.plain(f"invalid SOURCE_DATE_EPOCH: {text}", hint="give seconds since 1970") from None


def _hosts(text: str) -> tuple[HostIP, ...]:
    out = []
    for part in filter(None, text.split(",")):
        host, equals, address = part.partition("=")
        if not equals or not host or not address:
            raise errors.plain(f"invalid host {part}", hint="write host=ip")
        out.append(HostIP(host=host.lower(), ip=address))
    return tuple(out)


def _ulimits(text: str) -> tuple[Ulimit, ...]:
    out = []
    for part in filter(None, text.split(",")):
        name, _, limits = part.partition("=")
        soft, _, hard = limits.partition(":")
        try:
            out.append(Ulimit(name=name, soft=int(soft), hard=int(hard or soft)))
        except ValueError:
            raise errors.plain(f"invalid ulimit {part}", hint="write name=soft[:hard]") from None
    return tuple(out)


def _integer(key: str, options: Mapping[str, str]) -> int:
    try:
        return int(options.get(key) or 0)
    except ValueError:
        raise errors.plain(f"invalid {key}: {options[key]}", hint="give a number of bytes") from None


def _resources(options: Mapping[str, str]) -> LinuxResources | None:
    limits = LinuxResources(
        memory=_integer("memory", options),
        memory_swap=_integer("memswap", options),
        cpu_shares=_integer("cpushares", options),
        cpu_period=_integer("cpuperiod", options),
        cpu_quota=_integer("cpuquota", options),
        cpuset_cpus=options.get("cpusetcpus", ""),
        cpuset_mems=options.get("cpusetmems", ""),
    )
    return limits if limits != LinuxResources() else None


def _proxy(build_args: Mapping[str, str]) -> ProxyEnv | None:
    found = {key.lower(): value for key, value in build_args.items() if key.lower().endswith("_proxy")}
    names = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    given = {name: found[name] for name in names if found.get(name)}
    return ProxyEnv(**given) if given else None


class _Bases:
    """Base images and named contexts, asked of a bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def image(self, ref: str, platform: Platform, log_name: str) -> tuple[str, str, bytes]:
        """Return canonical reference, digest and config."""
        mode = _resolve_mode(self._bridge.options)
        found = await self._bridge.resolve_image(
            ref,
            platform=platform,
            mode=mode,
            log_name=log_name,
        )
        return found.ref, found.digest, found.config

    async def context(self, name: str, platform: Platform) -> tuple[State, bytes | None] | None:
        """Return the state and config of a named context."""
        options = self._bridge.options
        keys = [f"context:{name}::{platforms.format(platform)}", f"context:{name}"]
        with suppress(InvalidReferenceError):
            keys.append(f"context:{parse_reference(name).with_default_tag().familiar}")
        value = next((options[key] for key in keys if key in options), None)
        if value is None:
            return None
        return await self._named(name, value, platform)

    async def _named(self, name: str, value: str, platform: Platform) -> tuple[State, bytes | None]:
        options = self._bridge.options
        scheme, _, rest = value.partition(":")
        rest = rest.removeprefix("//")
        title = f"[context {name}] {value}"
        if _GIT.search(value):
            title = f"[internal] load git source {value}"
            return git(value.partition("#")[0], value.partition("#")[2], name=title), None
        match scheme:
            case "docker-image":
                if rest == "scratch":
                    return State(), None
                ref = str(parse_reference(rest).with_default_tag())
                resolved, _, config = await self.image(
                    ref, platform, f"[context {name}] load metadata for {ref}"
                )
                state = image(
                    resolved,
                    platform=platform,
                    resolve_mode=_resolve_mode(options),
                    name=f"[context {name}] {rest}",
                )
                return state, config
            case "oci-layout":
                store = rest.partition("@")[0]
                ref = parse_reference(name).name + rest[len(store) :]
                found = await self._bridge.resolve_image(
                    ref,
                    platform=platform,
                    oci_store=store,
                    oci_session=self._bridge.session_id,
                    log_name=f"[context {name}] load metadata for {ref}",
                )
                state = oci_layout(
                    ref if "@" in ref else f"{ref}@{found.digest}",
                    store_id=store,
                    session_id=self._bridge.session_id,
                    platform=platform,
                    name=f"[context {name}] OCI load from client",
                )
                return state, found.config
            case "local":
                ignored = await self._ignored(rest)
                title = f"[context {name}] load from client"
                node = ContextNode(
                    name=rest,
                    session_id=self._bridge.session_id,
                    ignored=ignored,
                    shared_key_hint=f"context:{name}-",
                    title=title,
                    constraints=Constraints.of(StepOptions(name=title)),
                )
                return context_state(node), None
            case "http" | "https":
                return http(value, name=title), None
            case "input":
                inputs = await self._bridge.inputs()
                if rest not in inputs:
                    raise errors.plain(f"invalid input {rest} for {name}")
                return inputs[rest], _input_config(options=self._bridge.options, name=rest)
            case _:
                raise errors.plain(
                    f"invalid context specifier {value} for {name}",
                    hint="give a directory, docker-image://, oci-layout://, a git or an HTTP address",
                )

    async def _ignored(self, name: str) -> tuple[str, ...]:
        state = local(
            name,
            session_id=self._bridge.session_id,
            follow_paths=[".dockerignore"],
            shared_key_hint=f"{name}-.dockerignore",
            differ="none",
            name=f"[context {name}] load .dockerignore",
        )
        try:
            data = await self._bridge.read_file(await self._bridge.solve(state), ".dockerignore")
        except FileNotFoundError:
            return ()
        return tuple(read_patterns(data.decode("utf-8", "surrogateescape")))


def _input_config(options: Mapping[str, str], name: str) -> bytes | None:
    text = options.get(f"input-metadata:{name}", "")
    if not text:
        return None
    try:
        config = json.loads(text).get("containerimage.config")
    except (ValueError, AttributeError) as error:
        raise errors.plain(f"failed to parse metadata of input {name}: {error}") from None
    return json.dumps(config).encode() if config is not None else None
