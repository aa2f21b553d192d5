# SPDX-License-Identifier: Apache-2.0
"""Faults of the state directory: whatever is lost, restored, damaged or cut off, the next build gives the right content."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from llbkit.cli.main import run

DATABASES = ("metadata.db", "cache.db")
PROGRAM = """FROM scratch AS one
COPY {name} /first
COPY shared /shared
FROM one
COPY --from=one /first /second
COPY {name} /dir/{name}
"""


class Bench:
    """Builds of three small images, in this process, whose content tells which one was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "ABC":
            context = folder / name
            context.mkdir()
            (context / "Dockerfile").write_text(PROGRAM.format(name=name))
            (context / name).write_text(f"this is {name}")
            (context / "shared").write_text("for everybody")

    def build(self, root: Path, name: str) -> None:
        """Build an image and check every file of it."""
        out = self.folder / "out.tar"
        out.unlink(missing_ok=True)
        code = run(
            ["--root", str(root), "build", "-q", "-o", f"type=tar,dest={out}", str(self.folder / name)]
        )
        assert code == 0
        with tarfile.open(out) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        mine = f"this is {name}".encode()
        assert files == {"first": mine, "second": mine, f"dir/{name}": mine, "shared": b"for everybody"}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Return a state after A, the same after B too, and one cut off after B: its databases still have logs."""
    tmp_path = tmp_path_factory.mktemp("states")
    bench = Bench(tmp_path)
    early, late, cut = (tmp_path / name for name in ("early", "late", "cut"))
    bench.build(early, "A")
    shutil.copytree(early, late)
    bench.build(late, "B")
    shutil.copytree(early, cut)
    program = (
        "import os, sys; from llbkit.engine.embedded import Engine; Engine.close = lambda self: os._exit(9);"
    )
    program += "from llbkit.cli.main import run; run(sys.argv[1:])"
    argv = ["--root", cut, "build", "-q", "-o", f"type=tar,dest={tmp_path}/x", tmp_path / "B"]
    done = subprocess.run([sys.executable, "-c", program, *map(str, argv)], check=False)
    assert done.returncode == 9
    assert (cut / "metadata.db-wal").stat().st_size
    return {"early": early, "late": late, "cut": cut}


@pytest.fixture
def late(states, tmp_path):
    """Return a copy of the state after A and B."""
    return Path(shutil.copytree(states["late"], tmp_path / "late"))


def assemble(
    target: Path, states: dict[str, Path], databases: tuple[str, str], layers: str, blobs: str
) -> None:
    """Make a state directory of parts of others; see `SOURCES`."""
    shutil.copytree(states["late"], target, dirs_exist_ok=True)
    for name, source in zip(DATABASES, databases, strict=True):
        for path in target.glob(name + "*"):
            path.unlink()
        match source:
            case "lost":
                pass
            case "empty":
                (target / name).touch()
            case "early under log":  # a backup of the file alone, beside the log of what came later
                shutil.copy2(states["early"] / name, target)
                for part in states["cut"].glob(name + "-*"):
                    shutil.copy2(part, target)
            case "lost under log":
                for part in states["cut"].glob(name + "-*"):
                    shutil.copy2(part, target)
            case _:
                for part in states[source].glob(name + "*"):
                    shutil.copy2(part, target)
    for name, source in (("layers", layers), ("content", blobs)):
        shutil.rmtree(target / name)
        if source != "lost":
            shutil.copytree(states[source] / name, target / name)


SOURCES = ("late", "early", "cut", "lost", "empty", "early under log", "lost under log")
TREES = ("late", "early", "lost")
COMBINATIONS = list(itertools.product(itertools.product(SOURCES, SOURCES), TREES, TREES))
ONE_DATABASE = [
    ((source, "late"), "late", "late") for source in SOURCES
] + [(("late", source), "late", "late") for source in SOURCES]  # fmt: skip


@pytest.mark.parametrize("combination", ONE_DATABASE, ids=str)
def test_databases_that_were_lost_or_restored_never_give_other_content(
    bench, states, tmp_path, combination
) -> None:
    check(bench, states, tmp_path / "state", combination)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(8))
def test_parts_of_any_states_never_give_other_content(bench, states, tmp_path, seed) -> None:
    """Every combination of databases, layers and blobs of different times; an eighth of them for each seed."""
    for number, combination in enumerate(COMBINATIONS[seed::8]):
        check(bench, states, tmp_path / f"state{number}", combination)
        shutil.rmtree(tmp_path / f"state{number}")


def check(bench: Bench, states: dict[str, Path], root: Path, combination) -> None:
    assemble(root, states, *combination)
    for name in "CABBA":
        bench.build(root, name)


def test_states_that_were_cloned_can_swap_databases(bench, states, tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, name in ((one, "B"), (two, "C")):
        shutil.copytree(states["early"], root)
        bench.build(root, name)
    shutil.copy2(one / "cache.db", two / "cache.db")
    for name in "BACB":
        bench.build(two, name)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("damage", ["header", "schema", "every page", "half", "text"])
def test_a_damaged_database_is_put_aside_once(bench, late, caplog, database, damage) -> None:
    root = late
    data = bytearray((root / database).read_bytes())
    match damage:
        case "header":
            data[:16] = b"no database here"
        case "schema":
            data[100:200] = os.urandom(100)
        case "every page":
            for start in range(4096, len(data), 4096):
                data[start : start + 64] = os.urandom(64)
        case "half":
            del data[len(data) // 2 :]
        case "text":
            data = bytearray(b"\xff" * 12 + os.urandom(5000))
    (root / database).write_bytes(data)
    for name in "ACBA":
        bench.build(root, name)
    said = [line for line in caplog.messages if "is damaged" in line]
    assert len(said) == 1
    assert database in said[0]
    (aside,) = [path for path in root.glob(f"{database}.damaged-*") if path.suffix != "-wal"]
    assert aside.read_bytes() == bytes(data)


@pytest.mark.faults
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_never_give_other_content(bench, states, tmp_path, database, seed) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        root = tmp_path / "state"
        shutil.copytree(states["late"], root)
        data = bytearray((root / database).read_bytes())
        for _ in range(chance.choice((1, 3, 30))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (root / database).write_bytes(data)
        for name in "ACBA":
            bench.build(root, name)
        shutil.rmtree(root)


@pytest.mark.parametrize(
    "place",
    [
        "layers/*",
        "layers/*/fs",
        "layers",
        "content",
        "content/blobs",
        "stat",
        "run",
        "work",
        "tmp",
        "caches",
        "run/owners",
        "content/ingest",
    ],
)
def test_what_is_removed_by_hand_is_made_again(bench, late, place) -> None:
    root = late
    for path in list(root.glob(place)):
        shutil.rmtree(path)
    for name in "ABC":
        bench.build(root, name)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_blobs_of_images_heal(bench, late, tmp_path, damage) -> None:
    """Exports read blobs of earlier exports."""
    root = late
    image = tmp_path / "image.tar"
    argv = ["--root", str(root), "build", "-q", "-o", f"type=oci,dest={image}", str(tmp_path / "A")]
    assert run(argv) == 0
    good = image.read_bytes()
    for path in list((root / "content" / "blobs" / "sha256").iterdir()):
        data = bytearray(path.read_bytes())
        match damage:
            case "flip":
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            case "cut":
                path.write_bytes(data[: len(data) // 2])
            case "remove":
                path.unlink()
    assert run(argv) == 0
    with tarfile.open(fileobj=io.BytesIO(good)) as before, tarfile.open(image) as after:
        blobs = [
            {m.name for m in tar if m.isfile() and m.name.startswith("blobs")} for tar in (before, after)
        ]
    assert blobs[0] == blobs[1]


KILLED = """
import atexit, os, runpy, signal, sys
CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.chmod", "os.chown", "os.utime",
           "os.setxattr", "os.truncate", "fcntl.flock", "sqlite3.connect", "subprocess.Popen", "os.fork", "os.posix_spawn"}
report, moment, pid, seen = sys.argv[1], int(sys.argv[2]), os.getpid(), 0
def count(event, arguments):
    global seen
    if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        seen += 1
        if seen == moment:
            os.kill(pid, signal.SIGKILL)
def tell():
    if os.getpid() == pid:
        with open(report, "w") as file:
            file.write(str(seen))
atexit.register(tell)
sys.addaudithook(count)
sys.argv[:] = ["llbkit", *sys.argv[3:]]
runpy.run_module("llbkit", run_name="__main__")
"""
"""Runs llbkit and kills it at the given change of files, locks or processes that it is about to make; 0 lets it end."""


@pytest.mark.faults
@pytest.mark.root
def test_builds_killed_at_any_moment_leave_a_state_that_gives_the_right_content(bench, tmp_path) -> None:
    """The moments are spread over all changes that a build makes."""
    root, report = tmp_path / "state", tmp_path / "changes"
    out = f"type=tar,dest={tmp_path}/killed.tar"
    bench.build(root, "A")

    def build(name: str, moment: int) -> int:
        argv = ("--root", str(root), "build", "-q", "-o", out, "--no-cache", str(bench.folder / name))
        return subprocess.run(
            [sys.executable, "-c", KILLED, report, str(moment), *argv], check=False
        ).returncode

    assert build("A", 0) == 0
    usual = int(report.read_text())
    assert usual > 80
    for number in range(40):
        name = "ABC"[number % 3]
        if number % 5 == 0:
            (bench.folder / name / "shared").touch()
        assert build(name, 1 + usual * number // 42) == -signal.SIGKILL
        bench.build(root, "ABC"[(number + 1) % 3])
        bench.build(root, name)
    assert len(os.listdir(root / "work")) == 0
    assert len(os.listdir(root / "run" / "owners")) == 0


@pytest.mark.root
@pytest.mark.parametrize(
    "free", [pytest.param(kib, marks=pytest.mark.faults) for kib in (40, 90, 150, 220)] + [300, 600]
)
def test_a_full_disk_fails_in_words_and_heals(bench, tmp_path, capfd, free) -> None:
    """On a tmpfs with less and less room: the build fails with the way out, or succeeds; afterwards it succeeds."""
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={free}k", "tmpfs", root], check=True)
    try:
        (bench.folder / "A" / "A").write_bytes(os.urandom(200_000))
        code = run(["--root", str(root), "build", "-q", "-o", "type=cacheonly", str(bench.folder / "A")])
        said = capfd.readouterr().err
        assert code in (0, 3), said
        if code:
            assert "No space left" in said or "full" in said
            assert "llbkit prune" in said
        assert "internal error" not in said
        assert len(said.splitlines()) < 20
        subprocess.run(["mount", "-o", "remount,size=64m", root], check=True)
        (bench.folder / "A" / "A").write_text("this is A")
        for name in "ABA":
            bench.build(root, name)
    finally:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_local_images_that_are_damaged_are_named_and_can_be_made_again(cli, project, damage) -> None:
    """What was built here is on no registry: the user is told, and every command goes on working."""
    base = project("FROM scratch\nCOPY f /f\n", {"f": "x"}, base=False)
    user = project("FROM local/base\nCOPY f /g\n", {"f": "x"}, base=False, name="user")
    cli.build(base, "-t", "local/base")
    for path in list((cli.root / "content" / "blobs" / "sha256").iterdir()):
        data = bytearray(path.read_bytes())
        data[3] ^= 1
        path.unlink()
        if damage == "flip":
            path.write_bytes(data)
    said = cli.build(user, "--no-cache", code=1).stderr
    assert "the local image is damaged" in said
    assert "llbkit rmi local/base" in said
    assert "damaged" in cli.run("images").stdout
    cli.run("du")
    cli.run("prune", "-f")
    cli.build(base, "-t", "local/base")
    cli.build(user)
    for path in list((cli.root / "content" / "blobs" / "sha256").iterdir()):
        path.unlink()
    assert "local/base" in cli.run("rmi", "local/base").stdout
