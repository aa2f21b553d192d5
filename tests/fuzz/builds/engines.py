# SPDX-License-Identifier: Apache-2.0
"""Builds one case with one engine, and returns its output. Both engines speak BuildKit's status lines."""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from llbkit.records import dataclass
from tests.support.dockerd import Dockerd

LONGEST = 40
"""Seconds after which a build counts as one that hangs."""
_PRELOADED = (
    "llbkit.cli.main", "llbkit.cli.build", "llbkit.engine.embedded", "llbkit.progress.rawjson", "llbkit.frontends.dockerfile.frontend",
    "llbkit.worker.exporters.image.oci", "llbkit.worker.sources.image", "llbkit.worker.ops.exec.op", "llbkit.worker.ops.file.op",
)  # fmt: skip


@dataclass
class Vertex:
    """A step as it was shown last."""

    name: str
    cached: bool = False
    source: bool = False
    started: bool = False
    error: str = ""


@dataclass
class Report:
    """How a build went."""

    code: int
    message: str = ""
    vertexes: dict[str, Vertex] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    archive: Path | None = None
    began: float = 0.0
    seconds: float = 0.0
    text: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0


class Runner(Protocol):
    """An engine that builds."""

    name: str

    def reset(self) -> None:
        """Forget what was built."""

    def build(self, arguments: Sequence[str], archive: Path) -> Report: ...


class DockerRunner:
    """``docker buildx build`` on a daemon that runs already."""

    name = "docker"

    def __init__(self, daemon: Dockerd) -> None:
        self._daemon = daemon

    def reset(self) -> None:
        self._daemon.prune()

    def build(self, arguments: Sequence[str], archive: Path) -> Report:
        argv = [
            *self._daemon.buildx,
            "--progress=rawjson",
            "--provenance=false",
            *_output(archive),
            *arguments,
        ]
        began = time.time()
        try:
            done = subprocess.run(
                argv, env=self._daemon.environment(), capture_output=True, check=False, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            return Report(code=-1, message="hangs", began=began, seconds=LONGEST)
        text = (done.stdout + done.stderr).decode(errors="replace")
        return read_report(done.returncode, text, archive, began)


class LlbkitRunner:
    """The ``llbkit`` command of this checkout, in a fork of a process that has its modules loaded already.

    It uses runc, as the reference does: what a step sees of ``/dev`` and ``/proc`` differs between runtimes.
    """

    name = "llbkit"

    def __init__(self, state: Path) -> None:
        self._state = state
        for module in _PRELOADED:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise

    def build(self, arguments: Sequence[str], archive: Path) -> Report:
        argv = ["--root", str(self._state), "build", "--progress=rawjson", *_output(archive), *arguments]
        log = archive.with_suffix(".log")
        began = time.time()
        child = os.fork()
        if child == 0:
            _become_command(argv, log)
        code = _wait(child)
        if code is None:
            return Report(code=-1, message="hangs", began=began, seconds=LONGEST)
        return read_report(code, log.read_text(errors="replace"), archive, began)

    def reset(self) -> None:
        shutil.rmtree(self._state, ignore_errors=True)


def _output(archive: Path) -> list[str]:
    return ["-o", f"type=oci,dest={archive},compression=uncompressed"]


def _become_command(argv: list[str], log: Path) -> None:
    code = 70
    try:
        os.setsid()
        number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        empty = os.open("/dev/null", os.O_RDONLY)
        os.dup2(empty, 0)
        os.dup2(number, 1)
        os.dup2(number, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ["LLBKIT_RUNTIME"] = "runc"
        run = importlib.import_module("llbkit.cli.main").run
        code = run(argv)
        for stream in ("stdout", "stderr"):
            getattr(__import__("sys"), stream).flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(child: int) -> int | None:
    """Return the exit code; None if it had to be stopped."""
    end = time.monotonic() + LONGEST
    pause = 0.005
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def read_report(code: int, text: str, archive: Path, began: float) -> Report:
    """Read status lines and what stands between them."""
    report = Report(code, archive=archive if code == 0 else None, began=began, seconds=time.time() - began)
    rest = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                _take(json.loads(line), report)
                continue
            except ValueError:
                pass
        rest.append(line)
    report.text = "\n".join(rest)
    if code != 0:
        report.message = _message(rest)
    return report


def _take(status: dict, report: Report) -> None:
    for raw in status.get("vertexes") or ():
        vertex = report.vertexes.setdefault(raw["digest"], Vertex(raw["name"]))
        vertex.name = raw["name"]
        vertex.source = not raw.get("inputs")
        vertex.cached = vertex.cached or bool(raw.get("cached"))
        vertex.started = vertex.started or bool(raw.get("started"))
        vertex.error = raw.get("error") or vertex.error
    for raw in status.get("warnings") or ():
        report.warnings.append(base64.b64decode(raw.get("short") or "").decode(errors="replace"))


def _message(lines: list[str]) -> str:
    for line in lines:
        found = re.match(r"(?:ERROR|error|Error): (?:failed to build: )?(?:failed to solve: )?(.*)", line)
        if found:
            return re.sub(r" \[[a-z-]+\]$", "", found.group(1))  # the code of a diagnostic
    return lines[-1] if lines else ""
