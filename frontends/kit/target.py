# SPDX-License-Identifier: Apache-2.0
"""One target for one platform while it is lowered: its state, its image config, and what it takes from outside grow together.

A language calls these methods with the span that says so; steps then have their name, their place in the program and their
entry in the image's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Protocol, TypeVar

from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.compilation import Compilation, Lowered
from llbkit.frontends.kit.errors.located import pointed
from llbkit.frontends.kit.errors.places import Place
from llbkit.frontends.kit.golang.text import format_time
from llbkit.frontends.kit.image import DEFAULT_PATH, Image
from llbkit.frontends.kit.steps import cache_id, configured, run
from llbkit.frontends.kit.subrequests.outline import ArgFact, MountFact, Summary, TargetFact, TargetOutline
from llbkit.grammar import Span
from llbkit.llb.builder.mounts import AnyMount, MountSpec, SecretSpec, SSHSpec, cache
from llbkit.llb.builder.options import At
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import CacheSharing, Platform
from llbkit.records import dataclass

FactT = TypeVar("FactT", ArgFact, MountFact)


class Others(Protocol):
    """The other targets of a program, for one platform."""

    async def __call__(self, name: str, by: Target) -> Target | None:
        """Return a target that ``by`` needs, lowered; None if there is none of that name. Raises ProgramError: a circle."""


@dataclass(slots=True, kw_only=True, eq=False)
class Target:
    """A target on its way to a state.

    ``wanted`` is the platform that was asked for, if one was; ``platform`` is what its steps run on. ``paths`` fills up with
    what is read of the main context ("/" is all of it). ``others`` lowers further targets of the program for this one.
    """

    compilation: Compilation
    fact: TargetFact
    language: str
    wanted: Platform | None
    platform: Platform
    paths: set[str]
    others: Others
    epoch: datetime | None = None
    state: State = field(default_factory=State)
    image: Image = field(init=False)
    base_image: Image | None = None
    args: dict[str, ArgFact] = field(default_factory=dict)
    secrets: dict[str, MountFact] = field(default_factory=dict)
    agents: dict[str, MountFact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A target that stands on nothing begins as the empty image."""
        self.image = Image.empty(self.platform)

    @property
    def name(self) -> str:
        """The target's name."""
        return self.fact.name

    def at(self, span: Span) -> list[At]:
        """Return a place in the program, for the steps that come from it."""
        return [At(self.compilation.includes.text_of(span.source), Place.covering(span).lines)]

    def arg(self, name: str, span: Span, *, default: str | None = None, description: str = "") -> str | None:
        """Declare a build argument and return its value: the build's, or else the default.

        Without a default, those about platforms (``TARGETARCH`` ...) have the values that they have in Dockerfiles.
        """
        options = self.compilation.options
        value = options.build_args.get(name, default)
        if value is None:
            build = options.build_platforms[0]
            value = platforms.predefined_args(build, self.platform, options.target, {}).get(name)
        place = Place.covering(span)
        self.args[name] = ArgFact(name=name, value=value, description=description, place=place)
        return value

    async def stand_on(self, name: str, span: Span) -> None:
        """Begin with another target of the program, an image, a named context or ``scratch``.

        Raises:
            ProgramError: it is malformed or cannot be found; shown at ``span``.
        """
        with pointed(span):
            if (other := await self.others(name, self)) is not None:
                self.state, self.platform = other.state, other.platform
                self.image, self.base_image = other.image.clone(), other.base_image
                self._takes(other)
                return
            base = await self.compilation.images.base(
                name,
                self.platform,
                paths={"/"},
                implicit=self.wanted is None,
                at=self.at(span),
            )
        self.state, self.platform = configured(base.state, self.compilation.options), base.platform
        self.image, self.base_image = base.config, base.found
        config = self.image.config
        if not config.has_env("PATH") and self.platform.os != "windows":
            config.set_env("PATH", DEFAULT_PATH)
        for item in config.env:
            key, _, value = item.partition("=")
            self.state = self.state.env(key, value)
        if config.working_dir:
            self.state = self.state.dir(config.working_dir)
        if config.user:
            self.state = self.state.user(config.user)

    async def source(self, name: str, span: Span) -> State:
        """Return what is copied from: the main context (""), another target, a named context, or an image.

        Raises:
            ProgramError: it is malformed or cannot be found; shown at ``span``.
        """
        with pointed(span):
            if not name:
                return await self.compilation.contexts.main(self.paths)
            if (other := await self.others(name, self)) is not None:
                self._takes(other)
                return other.state
            base = await self.compilation.images.base(name, self.platform, paths={"/"}, at=self.at(span))
        return base.state

    async def copy(self, src: str, dest: str, span: Span, *, source: str = "") -> None:
        """Copy a file, or what is in a directory; ``source`` as for `source`. Raises ProgramError."""
        state = await self.source(source, span)
        path = f"/{src.removeprefix('./').strip('/')}".removesuffix("/.") or "/"
        if not source:
            self.paths.add(path)
        shown = f"COPY {src} {dest}"
        self.state = self.state.copy(
            state, path, dest, dir_contents=True, create_dest_path=True, **self._step(shown, span)
        )
        self.commit(shown, layer=True)

    def run(self, args: Sequence[str], span: Span, *, mounts: Sequence[AnyMount] = ()) -> None:
        """Run a process with the build's limits. Secrets and agents that it mounts are in the outline."""
        for mount in mounts:
            if isinstance(mount, SecretSpec):
                self._note(self.secrets, mount.id, mount, span)
            elif isinstance(mount, SSHSpec):
                self._note(self.agents, mount.id or "default", mount, span)
        shown = f"RUN {' '.join(args)}"
        options = self.compilation.options
        ran = run(self.state, args, options, mounts=mounts, **self._step(shown, span))
        self.state = ran.root
        self.commit(shown, layer=True)

    def cache(self, path: str, *, name: str = "", sharing: CacheSharing = CacheSharing.SHARED) -> MountSpec:
        """Return a mount of a directory that outlives the build, for `run`; ``name`` is its path if it has none."""
        return cache(path, id=cache_id(self.compilation.options, name or path), sharing=sharing)

    def shell(self, line: str, span: Span, *, mounts: Sequence[AnyMount] = ()) -> None:
        """Run a line with the image's shell."""
        self.run([*(self.image.config.shell or ["/bin/sh", "-c"]), line], span, mounts=mounts)

    def env(self, key: str, value: str) -> None:
        """Set a variable for later steps and in the image."""
        self.state = self.state.env(key, value)
        self.image.config.set_env(key, value)
        self.commit(f"ENV {key}={value}", layer=False)

    def dir(self, path: str) -> None:
        """Change the directory for later steps and in the image; a relative path starts from the one before."""
        self.state = self.state.dir(path)
        config = self.image.config
        config.working_dir = self.state.settings.at(self.platform).dir
        self.commit(f"WORKDIR {path}", layer=False)

    def commit(self, created_by: str, *, layer: bool) -> None:
        """Add an entry to the image's history; for what a language does to ``state`` or ``image`` by itself."""
        created = format_time(self.epoch) if self.epoch is not None else ""
        self.image.commit(created_by, layer=layer, comment=self.language, created=created)

    def finish(self) -> LoweredTarget:
        """Return the target as it is now."""
        self.image.config.labels.update(self.compilation.options.labels)
        self.image.settle(self.wanted)
        summary = Summary(_in_order(self.args), _in_order(self.secrets), _in_order(self.agents))
        return LoweredTarget(
            state=self.state,
            image=self.image,
            base_image=self.base_image,
            platform=self.wanted,
            target_platform=self.platform,
            epoch=self.epoch,
            outline=TargetOutline(name=self.name, description=self.fact.description, summary=summary),
        )

    def _note(self, known: dict[str, MountFact], name: str, mount: SecretSpec | SSHSpec, span: Span) -> None:
        fact = MountFact(name=name, required=not mount.optional, place=Place.covering(span))
        known.setdefault(name, fact)

    def _takes(self, other: Target) -> None:
        """Note what a target that this one needs takes from outside; its own declarations count first."""
        self.args = {**other.args, **self.args}
        self.secrets = {**other.secrets, **self.secrets}
        self.agents = {**other.agents, **self.agents}

    def _step(self, text: str, span: Span) -> StepOptions:
        options = self.compilation.options
        prefix = f"{platforms.format_all(self.platform)} " if options.multi_platform else ""
        step: StepOptions = {"name": f"[{prefix}{self.name}] {text}", "at": self.at(span)}
        if options.ignores_cache(self.name):
            step["ignore_cache"] = True
        return step


def _in_order(facts: Mapping[str, FactT]) -> tuple[FactT, ...]:
    return tuple(sorted(facts.values(), key=lambda fact: fact.place.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredTarget(Lowered):
    """A target for one platform, with what it takes from outside."""

    outline: TargetOutline
