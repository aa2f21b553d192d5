# SPDX-License-Identifier: Apache-2.0
"""One compilation of one program: what a language finds around it, and what the kit asks of the language.

The order is one for all languages: attributes, then subrequests, then every platform, then warnings, then results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Protocol, TypeVar

from llbkit.frontends.base import Bridge, BuildResult, PlatformResult, solve_state
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.images import Images
from llbkit.frontends.kit.inputs.contexts import Contexts
from llbkit.frontends.kit.inputs.epoch import SourceTimes
from llbkit.frontends.kit.inputs.includes import Includes
from llbkit.frontends.kit.options import Options
from llbkit.frontends.kit.requested import handed_on
from llbkit.frontends.kit.subrequests import requests
from llbkit.frontends.kit.subrequests.outline import TargetFact, TargetOutline
from llbkit.grammar import Diagnostic, DiagnosticError, Source
from llbkit.llb.builder.options import SourceText
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

_EPOCH = "source.date.epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A target for one platform. ``platform`` None: none was asked for.

    ``repr`` is short: asyncio makes it of what a main task returns.
    """

    state: State = field(repr=False)
    image: Image = field(repr=False)
    base_image: Image | None = field(default=None, repr=False)
    platform: Platform | None
    target_platform: Platform
    epoch: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What is to be said of a program: warnings of rules, the error that it cannot be built for, further notes."""

    warnings: Sequence[Diagnostic] = ()
    error: DiagnosticError | None = None
    notes: Sequence[Diagnostic] = ()


LoweredT = TypeVar("LoweredT", bound=Lowered)


class Compiler(Protocol[LoweredT]):
    """A language at work on one program. Nothing is read before it is asked for; each method raises `DiagnosticError`."""

    @property
    def warnings(self) -> Sequence[Diagnostic]:
        """What was found while lowering, also where that failed."""

    async def targets(self) -> Sequence[TargetFact]:
        """Return what can be built, in order."""

    async def lower(self, wanted: Sequence[Platform | None]) -> Sequence[LoweredT]:
        """Return the target for each platform; None is the build's own."""

    async def lint(self) -> LintReport:
        """Return what the rules find in the target, or in all targets if none is named."""

    def outline(self, lowered: LoweredT) -> TargetOutline:
        """Return what a target takes from outside."""


@dataclass(slots=True)
class Compilation:
    """The world of one program. Contexts and images are read once, for all platforms."""

    bridge: Bridge
    options: Options
    contexts: Contexts
    images: Images
    times: SourceTimes
    includes: Includes

    @classmethod
    def of(cls, contexts: Contexts) -> Compilation:
        """Return the world that these contexts are part of."""
        return cls(
            contexts.bridge,
            contexts.options,
            contexts,
            Images(contexts.bridge, contexts),
            SourceTimes(contexts.bridge),
            Includes(contexts),
        )

    async def text(self) -> SourceText:
        """Return the program's text. Raises ProgramError: there is none."""
        return await self.includes.program()

    @property
    def _sources(self) -> Sequence[Source]:
        return [text.source for text in self.includes.texts]

    async def run(self, compiler: Compiler[LoweredT]) -> BuildResult:
        """Return what the client asks for: lazy results, or the answer to a subrequest.

        A program that asks for another frontend is answered by that one.

        Raises:
            DiagnosticError: the program is wrong, or a request is unknown.
        """
        if self.bridge.options.get("requestid") != requests.DESCRIBE:
            answer = await handed_on(self.bridge, (await self.text()).source)
            if answer is not None:
                return answer
        requests.check_caps(self.bridge.options.get("frontend.caps", ""))
        if request := self.bridge.options.get("requestid", ""):
            return BuildResult(results=(), metadata=await self._answer(request, compiler))
        lowered = await self.lower(compiler)
        results = [await _result(self.bridge, one) for one in lowered]
        multi = self.options.multi_platform
        metadata = {
            f"{_EPOCH}/{result.id}" if multi else _EPOCH: str(int(one.epoch.timestamp())).encode()
            for one, result in zip(lowered, results, strict=True)
            if one.epoch is not None
        }
        return BuildResult(results=tuple(results), multi=multi, metadata=metadata)

    async def lower(self, compiler: Compiler[LoweredT]) -> Sequence[LoweredT]:
        """Lower for every wanted platform; warnings are reported, also before an error. Raises DiagnosticError."""
        try:
            return await compiler.lower([*self.options.platforms] or [None])
        finally:
            for warning in compiler.warnings:
                await self.bridge.warn(warning)

    async def _answer(self, request: str, compiler: Compiler[LoweredT]) -> Mapping[str, bytes]:
        requests.check_id(request)
        if request == requests.DESCRIBE:
            return requests.describe()
        await self.text()
        if request == requests.TARGETS:
            return requests.targets(await compiler.targets(), self._sources)
        if request == requests.LINT:
            report = await compiler.lint()
            return requests.lint(report.warnings, self.includes.texts, report.error, report.notes)
        (lowered,) = await compiler.lower([None])
        if request == requests.OUTLINE:
            return requests.outline(compiler.outline(lowered), self._sources)
        return requests.convert(lowered.state.graph(platform=lowered.target_platform, caps=self.bridge.caps))


async def _result(bridge: Bridge, lowered: Lowered) -> PlatformResult:
    # As in BuildKit, the platform of a result is the one that was asked for, whatever its image says.
    asked = lowered.platform or bridge.build_platforms[0]
    platform = platforms.normalize(_extended(asked, lowered.image.platform))
    return PlatformResult(
        id=platforms.format_all(platform),
        platform=platform,
        ref=await solve_state(bridge, lowered.state, platform=lowered.target_platform),
        config=lowered.image.encode(),
        base_config=lowered.base_image.encode() if lowered.base_image is not None else None,
    )


def _extended(platform: Platform, image: Platform) -> Platform:
    """Return a Windows platform with the version and features of its image, where it was asked for without."""
    if platform.os != "windows" or image.os != "windows":
        return platform
    return replace(
        platform,
        os_version=platform.os_version or image.os_version,
        os_features=platform.os_features or image.os_features,
    )
