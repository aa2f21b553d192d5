# SPDX-License-Identifier: Apache-2.0
"""Generates cases: the same seed and number give the same case, whatever ran before."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.fuzz.builds.case import Case, Change, Entry, Stage
from tests.fuzz.builds.contexts import Contexts
from tests.fuzz.builds.steps import Steps

BASES = (
    ("plain",) * 8
    + ("users",) * 8
    + ("full", "onbuild", "asuser", "whiteout", "whiteout", "nohistory", "undated", "empty")
)
PLATFORMS = ("linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/amd64") * 5 + (
    "linux/riscv64",
    "linux/386",
)


def generate(seed: int, number: int, *, lacks: frozenset[str] = frozenset()) -> Case:
    """Return a case. ``lacks`` names what the reference's frontend does not know, such as ``COPY --parents``."""
    return _Generator(random.Random(f"{seed}/{number}"), f"{seed}:{number}", lacks).case()


class _Generator:
    def __init__(self, source: random.Random, name: str, lacks: frozenset[str]) -> None:
        self._random = source
        self._name = name
        self._lacks = lacks
        self._contexts = Contexts(source)
        self._kinds: dict[str, str] = {}

    def case(self) -> Case:
        source = self._random
        context = self._contexts.tree()
        named: tuple[tuple[str, tuple[Entry, ...]], ...] = ()
        if source.random() < 0.12:
            named = (("other", self._contexts.tree(6)),)
        foreign = source.random() < 0.06
        many = source.choice((1, 1, 1, 2, 2, 3, 4))
        stages = [self._stage(at, context, named, foreign=foreign) for at in range(many)]
        options = self._options(stages, named, foreign=foreign)
        case = Case(
            name=self._name, stages=tuple(stages), heads=self._heads(), context=context, named=named, options=options,
            ignore=self._contexts.ignore(context) if source.random() < 0.2 else (),
        )  # fmt: skip
        return replace(case, change=self._change(case)) if source.random() < 0.45 else case

    def _heads(self) -> tuple[str, ...]:
        source = self._random
        heads = []
        if source.random() < 0.04:
            heads.append(source.choice(("# escape=\\", "# check=skip=all")))
        if source.random() < 0.15:
            heads.append(
                source.choice(
                    ("ARG A=global", "ARG V=1 A=two", "ARG TARGETARCH", "ARG EMPTY", "ARG TAG", "# a comment")
                )
            )
        return tuple(heads)

    def _stage(self, at: int, context: tuple[Entry, ...], named: tuple, *, foreign: bool) -> Stage:
        source = self._random
        draw = source.random()
        flags: tuple[str, ...] = ()
        if foreign:
            base, kind = (
                source.choice(("{registry}/base:multi", "{registry}/base:multi", "scratch")),
                "foreign",
            )
            if source.random() < 0.3:
                flags = (
                    f"--platform={source.choice((*PLATFORMS, '$BUILDPLATFORM', '$TARGETPLATFORM', 'linux(+sse4)/riscv64'))}",
                )
        elif draw < 0.12:
            base, kind = "scratch", "scratch"
        elif draw < 0.4 and self._kinds:
            base = source.choice(list(self._kinds))
            kind = self._kinds[base]
        else:
            image = source.choice(BASES)
            base, kind = (
                "{registry}/base:" + image,
                "users" if image in ("users", "asuser", "whiteout", "nohistory") else "plain",
            )
            if image == "users" and source.random() < 0.1:
                base = "{registry}/base:${TAG:-users}"
        maker = Steps(source, self._lacks, context=context, named=dict(named), stages=self._kinds, kind=kind)
        steps = tuple(maker.step() for _ in range(source.choice((1, 1, 2, 2, 3, 4, 5))))
        name = f"s{at}" if source.random() < 0.7 else ""
        if name:
            self._kinds[name] = kind
        elif source.random() < 0.03:
            name = f"Stage{at}"
        return Stage(base=base, name=name, flags=flags, steps=steps)

    def _options(self, stages: list[Stage], named: tuple, *, foreign: bool) -> tuple[tuple[str, ...], ...]:
        source = self._random
        options: list[tuple[str, ...]] = []
        rare = {
            ("--build-arg", "A=given"): 0.1, ("--build-arg", "UNUSED=1"): 0.03, ("--label", "l=from option"): 0.05,
            ("--build-arg", "SOURCE_DATE_EPOCH=1400000000"): 0.06, ("--build-arg", "HTTP_PROXY=http://p"): 0.03,
            ("--shm-size", "32m"): 0.02, ("--ulimit", "nofile=512:1024"): 0.02, ("--add-host", "some:10.0.0.1"): 0.03,
            ("--no-cache-filter", stages[-1].name or "s0"): 0.02, ("--annotation", "k=v"): 0.03,
        }  # fmt: skip
        options += [option for option, share in rare.items() if source.random() < share]
        names = [stage.name for stage in stages if stage.name]
        if names and source.random() < 0.08:
            options.append(("--target", source.choice(names)))
        if foreign:
            options.append(
                (
                    "--platform",
                    ",".join(dict.fromkeys(source.choices(PLATFORMS, k=source.choice((1, 1, 2, 3))))),
                )
            )
        if source.random() < 0.04:
            options.append(("--build-context", "image=docker-image://{registry}/base:users"))
        return tuple(options)

    def _change(self, case: Case) -> Change:
        source = self._random
        paths = [entry.path for entry in case.context] or ["a"]
        at = source.randrange(len(case.stages))
        step = f"{at}/{source.randrange(len(case.stages[at].steps))}"
        return source.choice(
            (
                Change(kind="nothing"), Change(kind="edit", path=source.choice(paths), text="more\n"), Change(kind="touch", path=source.choice(paths)),
                Change(kind="mode", path=source.choice(paths)), Change(kind="remove", path=source.choice(paths)),
                Change(kind="add", path=source.choice(("new.txt", "src/new.txt", "src/sub/new", "pages/new.txt")), text="new\n"),
                Change(kind="retarget", path=source.choice(paths), text="elsewhere"), Change(kind="step", path=step, text="CHANGED=1"), Change(kind="drop step", path=step),
            )
        )  # fmt: skip
