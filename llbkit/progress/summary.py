# SPDX-License-Identifier: Apache-2.0
"""The summary of a finished build, in a few lines: name, digest, size, time, what was cached, the slowest step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llbkit.llb.address.reference import parse
from llbkit.progress.model import BuildView, StepView, amount
from llbkit.request.values import Output
from llbkit.solver.events import Event

_BESIDE = ("[internal]", "exporting to ", "pulling ", "pushing ", "loading ")
"""How steps are named that no instruction stands for."""
_WORTH_NAMING = 0.1  # seconds
_LONGEST = 72


class Summary:
    """Follows the events of a build and tells of it when it has ended."""

    def __init__(self) -> None:
        self._view = BuildView()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        self._view.apply(event)

    def lines(
        self, response: Mapping[str, str], outputs: Sequence[Output], *, size: int, seconds: float
    ) -> list[str]:
        """Return the lines; ``size`` is the image's in bytes, 0 if there is none."""
        names = [parse(name).familiar for name in response.get("image.name", "").split(",") if name]
        digest = response.get("containerimage.digest", "")
        rows = []
        if digest:
            rows.append(("image", f"{digest}, {amount(size)}"))
            if not names and any(output.type == "image" for output in outputs):
                rows.append(("", "not stored locally: no name (use --tag NAME)"))
        rows += [
            ("output", f"{output.dest} ({output.type})") for output in outputs if output.dest not in ("", "-")
        ]
        rows.append(("steps", self._steps()))
        title = f"Built {', '.join(names)}" if names else "Built"
        return [f"{title} in {seconds:.1f}s", *(f"  {key:<6}  {text}" for key, text in rows if text)]

    def _steps(self) -> str:
        steps = [
            step for step in self._view.steps.values() if step.done and not step.name.startswith(_BESIDE)
        ]
        ran = [step for step in steps if not step.cached]
        cached = len(steps) - len(ran)
        parts = [f"{len(ran)} run"] if ran else []
        parts += [f"{cached} cached"] if cached else []
        text = ", ".join(parts)
        slowest = max(ran, key=lambda step: step.spent, default=None)
        if slowest is not None and slowest.spent >= _WORTH_NAMING:
            text += f"; slowest: {_short(slowest)} ({slowest.spent:.1f}s)"
        return text


def _short(step: StepView) -> str:
    name = " ".join(step.name.split())
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
