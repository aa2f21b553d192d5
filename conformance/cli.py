# SPDX-License-Identifier: Apache-2.0
"""``llbkit conformance``: golden vectors against this implementation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llbkit.conformance.report import Failure, run_each


@click.group("conformance")
def command() -> None:
    """Run golden vectors against this implementation."""


@command.command("vectors")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--images", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Recorded images."
)
@click.option("--only", metavar="NAME", help="Run one case.")
@click.option("--json", "as_json", is_flag=True, help="Print the failures as JSON.")
def vectors(files: tuple[Path, ...], images: Path | None, only: str | None, as_json: bool) -> int:
    """Run vector files and print FILE: passed/total. Exits with 1 if a case fails.

    images.json is looked for beside each file.
    """
    failed: dict[str, list[Failure]] = {}
    for path in files:
        cases = _cases(path, only)
        world = _world(images or path.with_name("images.json"))
        found = _run(path, cases, world)
        failed[str(path)] = found
        if not as_json:
            click.echo(f"{path}: {len(cases) - len(found)}/{len(cases)}")
            for failure in found:
                click.echo(f"  {failure.name}")
                click.echo("\n".join(f"    {line}" for line in failure.difference.splitlines()))
    if as_json:
        out = {
            path: [{"name": f.name, "difference": f.difference} for f in found]
            for path, found in failed.items()
        }
        click.echo(json.dumps(out, indent=2))
    return int(any(failed.values()))


def _cases(path: Path, only: str | None) -> list[Mapping[str, Any]]:
    try:
        cases = json.loads(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path} is not JSON: {error}") from None
    if not isinstance(cases, list) or not all(isinstance(case, dict) and "name" in case for case in cases):
        raise click.ClickException(f"{path} is not a vector file: expected an array of named cases")
    return [case for case in cases if only in (None, case["name"])]


def _world(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    found = json.loads(path.read_bytes())
    assert isinstance(found, dict), "images.json must be an object"
    return found


def _run(path: Path, cases: Sequence[Mapping[str, Any]], world: Mapping[str, Any]) -> list[Failure]:
    if not cases:
        return []
    first = cases[0]
    if "dockerfile" in first:
        from llbkit.conformance.dockerfile_vectors import run

        return run(cases, world)
    if "program" in first:
        from llbkit.conformance.llb_vectors import run as run_llb

        return run_llb(cases, world)
    for key, kind in (("word", "shell"), ("paths", "dockerignore"), ("text", "ast")):
        if key in first:
            return _text(kind, cases)
    raise click.ClickException(f"{path}: unsupported vector format")


def _text(kind: str, cases: Sequence[Mapping[str, Any]]) -> list[Failure]:
    from llbkit.conformance.text_vectors import RUNNERS

    return run_each(cases, lambda case: "\n".join(RUNNERS[kind]([dict(case)])))
