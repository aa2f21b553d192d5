# SPDX-License-Identifier: Apache-2.0
"""Every fenced block of README.md, CONTRIBUTING.md and docs/ is run, or says why not and is parsed at least.

Blocks of one page are run in order, in one empty folder with a state directory, a home and a registry of their own.

| block | what happens |
|---|---|
| ``console`` | each line after ``$`` is run; the lines below must be what it prints (``...`` stands for anything, also for no output) |
| ``sh`` | run by ``bash -e`` |
| ``python`` | run; names stay for later blocks of the page |
| any with ``{title="PATH"}`` | written to PATH first; ``Dockerfile``s are parsed, TOML as well |
| ``dockerfile``, ``toml``, ``json``, ``text``, ``llb`` without a title | parsed, where there is a parser |
| any with ``{data-norun="REASON"}`` | parsed: shell by ``bash -n``, and every llbkit flag in it must exist |

Stand-ins: ``registry.example.com`` becomes the address of a real registry on loopback, which is also the mirror of Docker Hub.
It holds `IMAGES`, all of them busybox. ``data-norun="quoted from FILE"`` holds a block to the text of that file.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from support.registry import registry
from support.snippets import Snippet, check_python, check_shell, shell_text, snippets, transcript

from llbkit.cli.main import _COMMANDS
from llbkit.config import MEANINGS
from llbkit.frontends.dockerfile.syntax.parse import parse
from llbkit.grammar import Source
from llbkit.llb import text as llb_text

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
IMAGES = ("library/alpine:3.22", "library/busybox:1", "team/base:1")
SHELLS = ("console", "sh")
LANGUAGES = {*SHELLS, "python", "dockerfile", "toml", "json", "text", "llb", "yaml"}
PLACEHOLDER = "registry.example.com"

pytestmark = pytest.mark.root


def pages_with(*, run: bool) -> list[str]:
    """Return the pages that have blocks that are run, or any blocks."""
    return [
        str(page.relative_to(REPOSITORY))
        for page in PAGES
        if page.exists() and any(not run or runs(one) for one in snippets(page))
    ]


def runs(snippet: Snippet) -> bool:
    return not snippet.norun and snippet.language in (*SHELLS, "python")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a registry that holds the base images."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "context").mkdir()
    shutil.copy("/bin/busybox", folder / "context" / "busybox")
    (folder / "context" / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\nENV PATH=/bin\n'
        'RUN mkdir -p /etc && echo "root:x:0:0::/root:/bin/sh" > /etc/passwd\nCMD ["sh"]\n'
    )
    with registry(folder / "registry") as address:
        names = [flag for image in IMAGES for flag in ("-t", f"{address}/{image}")]
        subprocess.run(
            [sys.executable, "-m", "llbkit", "--root", folder / "state", "build", "-q", "--push", *names, folder / "context"],
            check=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        yield address


@pytest.mark.parametrize("page", pages_with(run=True))
def test_blocks_do_what_they_say(page: str, hub: str, tmp_path: Path, monkeypatch) -> None:
    work, home, binaries = tmp_path / "work", tmp_path / "home", tmp_path / "bin"
    for folder in (work, home, binaries):
        folder.mkdir()
    (binaries / "llbkit").write_text(f'#!/bin/sh\nexec {sys.executable} -m llbkit "$@"\n')
    (binaries / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for program in binaries.iterdir():
        program.chmod(0o755)
    config = tmp_path / "config.toml"
    config.write_text(f'[registry."docker.io"]\nmirrors = ["{hub}"]\n[registry."{hub}"]\nhttp = true\n')
    values = {
        "HOME": str(home),
        "LLBKIT_CONFIG": str(config),
        "LLBKIT_ROOT": str(tmp_path / "state"),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("DOCKER_CONFIG", "SOURCE_DATE_EPOCH", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(work)
    names: dict[str, object] = {}
    for snippet in snippets(REPOSITORY / page):
        if snippet.title:
            path = work / snippet.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.text.replace(PLACEHOLDER, hub))
        elif runs(snippet):
            _run(snippet, hub, names)


def _run(snippet: Snippet, hub: str, names: dict[str, object]) -> None:
    if snippet.language == "python":
        code = snippet.text.replace(PLACEHOLDER, hub)
        exec(compile("\n" * snippet.line + code, str(snippet.page), "exec"), names)
    elif snippet.language == "sh":
        _shell(snippet, snippet.text.replace(PLACEHOLDER, hub))
    else:
        for command, wanted in transcript(snippet):
            got = _shell(snippet, command.replace(PLACEHOLDER, hub)).replace(hub, PLACEHOLDER)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(wanted, got, flags), (
                f"{snippet.place}: {command}wanted:\n{wanted}\ngot:\n{got}"
            )


def _shell(snippet: Snippet, text: str) -> str:
    """Run a text by bash and return all that it prints. A console may show a command that fails."""
    done = subprocess.run(
        ["bash", "-ec", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL
    )  # fmt: skip
    output = done.stdout.decode()
    assert "Traceback" not in output, f"{snippet.place}\n{output}"
    if snippet.language == "sh":
        assert done.returncode == 0, f"{snippet.place}: exit code {done.returncode}\n{output}"
    return output


@pytest.mark.parametrize("page", pages_with(run=False))
def test_blocks_are_well_formed(page: str) -> None:
    for snippet in snippets(REPOSITORY / page):
        assert snippet.language in LANGUAGES, f"{snippet.place}: name the language, or `text`"
        if snippet.norun.startswith("quoted from "):
            source = REPOSITORY / snippet.norun.removeprefix("quoted from ")
            assert _words(snippet.text) in _words(source.read_text()), f"{snippet.place}: not in {source}"
        elif snippet.language in SHELLS:
            check_shell(shell_text(snippet))
        elif snippet.language == "yaml":
            assert snippet.norun or snippet.title, f"{snippet.place}: say why it is not run"
            check_shell(_commands_of_yaml(snippet.text))
        _parse(snippet)


def _parse(snippet: Snippet) -> None:
    if snippet.language == "dockerfile":
        parse(Source(name=snippet.place, text=snippet.text))
    elif snippet.language == "toml":
        tomllib.loads(snippet.text)
    elif snippet.language == "json":
        json.loads(snippet.text)
    elif snippet.language == "python":
        check_python(snippet.text)
    elif snippet.language == "llb":
        llb_text.read(snippet.text)


def _commands_of_yaml(text: str) -> str:
    lines = (line.strip().removeprefix("- ").removeprefix("run: ").strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line.startswith("llbkit "))


def _words(text: str) -> str:
    return " ".join(text.split())


def test_no_block_is_hidden_by_indentation() -> None:
    """Blocks that are only indented would escape this test."""
    for page in PAGES:
        inside = False
        before = ""
        for number, line in enumerate(page.read_text().splitlines(), 1):
            inside ^= line.lstrip().startswith("```")
            shell = line.startswith(("    $ ", "    llbkit "))
            assert inside or not shell or before.strip(), f"{page.name}:{number}: use a fenced block"
            before = line


def test_every_setting_is_documented_in_its_words() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text()
    missing = [name for name, meaning in MEANINGS.items() if f"| `{name}` | {meaning} |" not in page]
    assert missing == []


def test_limits_are_those_of_the_code() -> None:
    """Each row of ``| what | limit | `module.NAME` |`` has the number that the code has."""
    rows = re.findall(
        r"^\| .+? \| ([\d,]+)\b.* \| `([\w.]+)\.(\w+)` \|$",
        (REPOSITORY / "docs" / "limits.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 10
    for number, module, name in rows:
        assert getattr(import_module(module), name) == int(number.replace(",", "")), f"{module}.{name}"


def test_every_command_has_its_place_in_a_document() -> None:
    text = " ".join(page.read_text() for page in PAGES)
    assert [name for name in _COMMANDS if f"llbkit {name}" not in text] == []
