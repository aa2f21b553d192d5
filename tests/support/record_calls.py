# SPDX-License-Identifier: Apache-2.0
"""Records ``tests/golden/calls.json``: what buildx prints for `tests.support.call_cases`. Run it by hand:

``python -m tests.support.record_calls``, with ``docker buildx`` at hand whose daemon can pull the images that the files
name, with the configs of ``conformance/vectors/images.json``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.call_cases import CASES, CallCase

RECORDING = Path(__file__).parents[1] / "golden" / "calls.json"


def ask(case: CallCase, call: str, form: str, folder: Path) -> tuple[int, str, str]:
    """Return status, standard output without its empty first line, and errors; the folder's path is taken out."""
    argv = ["docker", "buildx", "build", "--progress=quiet", f"--call={call},format={form}"]
    argv += [word for key, value in case.args.items() for word in ("--build-arg", f"{key}={value}")]
    argv += ["--target", case.target] if case.target else []
    done = subprocess.run([*argv, str(folder)], capture_output=True, text=True, check=False)
    out, error = (text.replace(f"{folder}/", "") for text in (done.stdout, done.stderr))
    return done.returncode, out.removeprefix("\n"), error


def record(case: CallCase) -> dict[str, Any]:
    """Return what each call of a case answers; the JSON of a refusal is null."""
    row: dict[str, Any] = {"name": case.name}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "Dockerfile").write_text(case.text)
        if case.ignore:
            (folder / ".dockerignore").write_text(case.ignore)
        for call in case.calls:
            status, value, _ = ask(case, call, "json", folder)
            _, text, error = ask(case, call, "text", folder)
            answer = json.loads(value) if value.strip() else None
            row[call] = {"json": answer, "text": text if answer else "", "error": error, "status": status}
    return row


if __name__ == "__main__":
    rows = ",\n".join(json.dumps(record(case)) for case in CASES)
    RECORDING.write_text(f"[\n{rows}\n]\n")
