# SPDX-License-Identifier: Apache-2.0
"""What a build may be made of: standard input, addresses, and named contexts of every kind."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import lzma
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from support.registry import free_port

pytestmark = pytest.mark.root

FILES = {
    "Dockerfile": "FROM scratch\nCOPY . /\n",
    "a": "a\n",
    "sub/b": "b\n",
    "sub/other.df": "FROM scratch\nCOPY sub /s\n",
}


def names(folder: Path) -> list[str]:
    """Return the files below a directory."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def archive(files: dict[str, str], **member: int) -> bytes:
    """Return a tar; ``member`` sets fields of its entries."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            for key, value in member.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[Path, str]]:
    """Serve a directory by HTTP; give it and its address."""
    (tmp_path / "www").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "www", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def repository(tmp_path) -> Iterator[str]:
    """Serve a git repository with a tag ``v1``, which lacks the file ``later``."""
    folder = write(tmp_path / "git" / "repo", FILES)

    def git(*args: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x"]
        past = {**os.environ, "GIT_COMMITTER_DATE": "@1600000000 +0000"}
        subprocess.run(["git", *who, "-C", folder, *args], check=True, capture_output=True, env=past)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    write(folder, {"later": "1", ".dockerignore": "a\n"})
    git("add", ".")
    git("commit", "-qm", "two")
    port = free_port()
    process = subprocess.Popen(
        ["git", "daemon", "--export-all", f"--base-path={tmp_path}/git", "--listen=127.0.0.1", f"--port={port}"],
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    address = f"git://127.0.0.1:{port}/repo"
    for _ in range(100):
        if not subprocess.run(["git", "ls-remote", address], capture_output=True, check=False).returncode:
            break
        time.sleep(0.05)
    yield address
    os.killpg(process.pid, 15)
    process.communicate()


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["tar", "gz", "bz2", "xz", "zst"],
)  # fmt: skip
def test_an_archive_on_standard_input(cli, tmp_path, compress: Callable[[bytes], bytes]) -> None:
    """It is a remote context: owners are kept, ignore files are not asked."""
    data = compress(archive({**FILES, ".dockerignore": "a\n"}, mtime=10**9, uid=1000, gid=7, mode=0o640))
    cli.run("build", "-o", f"type=tar,dest={tmp_path}/out.tar", "-", stdin=data)
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert sorted(m.name for m in tar if m.isreg()) == sorted({**FILES, ".dockerignore": ""})
        member = tar.getmember("sub/b")
        assert (member.uid, member.gid, member.mode, member.mtime) == (1000, 7, 0o640, 10**9)
    cli.run("build", "-f", "sub/other.df", "-o", tmp_path / "other", "-", stdin=data)
    assert names(tmp_path / "other") == ["s/b", "s/other.df"]


def test_a_broken_archive_on_standard_input(cli) -> None:
    done = cli.run("build", "-", stdin=gzip.compress(b"no archive"), code=1)
    assert "Dockerfile" in done.stderr


def test_a_dockerfile_on_standard_input_with_a_context(cli, tmp_path) -> None:
    folder = write(tmp_path / "ctx", FILES)
    cli.run("build", "-f", "-", "-o", tmp_path / "out", folder, stdin=b"FROM scratch\nCOPY a /piped\n")
    assert names(tmp_path / "out") == ["piped"]


def test_http_contexts(cli, tmp_path, served) -> None:
    folder, address = served
    (folder / "ctx.tar.gz").write_bytes(gzip.compress(archive({**FILES, ".dockerignore": "a\n"})))
    cli.run("build", "-o", tmp_path / "one", f"{address}/ctx.tar.gz")
    assert names(tmp_path / "one") == sorted({**FILES, ".dockerignore": ""})
    cli.run("build", "-f", "sub/other.df", "-o", tmp_path / "two", f"{address}/ctx.tar.gz")
    assert names(tmp_path / "two") == ["s/b", "s/other.df"]
    (folder / "single").write_text("FROM scratch\nCOPY <<E /made\nE\nCOPY . /all/\n")
    cli.run("build", "-o", tmp_path / "three", f"{address}/single")
    assert names(tmp_path / "three") == ["all/context", "made"]
    cli.run(
        "build", "-f", "-", "-o", tmp_path / "four", f"{address}/ctx.tar.gz", stdin=b"FROM scratch\nCOPY a /x\n"
    )  # fmt: skip
    assert names(tmp_path / "four") == ["x"]
    assert "404" in cli.run("build", f"{address}/nothing.tar", code=1).stderr


def v7(data: bytes) -> bytes:
    """Return a tar whose headers hold what those of V7 do, and nothing more."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for number, block in enumerate(blocks):
        if block[257:262] == b"ustar":
            bare = block[:148] + b" " * 8 + block[156:257] + bytes(255)
            blocks[number] = bare[:148] + f"{sum(bare):06o}\0 ".encode() + bare[156:]
    return b"".join(blocks)


@pytest.mark.parametrize("pack", [bytes, v7, gzip.compress, bz2.compress, lzma.compress])
def test_archives_of_every_kind_are_unpacked_as_http_contexts(
    cli, tmp_path, served, pack: Callable[[bytes], bytes]
) -> None:
    folder, address = served
    (folder / "packed").write_bytes(pack(archive(FILES)))
    cli.run("build", "-o", tmp_path / "out", f"{address}/packed")
    assert names(tmp_path / "out") == sorted(FILES)


def test_an_archive_that_buildkit_takes_for_a_dockerfile(cli, tmp_path, served) -> None:
    folder, address = served
    (folder / "packed").write_bytes(zstandard.ZstdCompressor().compress(archive(FILES)))
    done = cli.run("build", f"{address}/packed", code=1)
    assert "unknown instruction" in done.stderr


def test_a_dockerfile_from_an_address(cli, tmp_path, served) -> None:
    folder, address = served
    (folder / "their.df").write_text("FROM scratch\nCOPY a /theirs\n")
    (folder / "ctx.tar").write_bytes(archive(FILES))
    context = write(tmp_path / "ctx", FILES)
    for number, where in enumerate([str(context), f"{address}/ctx.tar"]):
        cli.run("build", "-f", f"{address}/their.df", "-o", tmp_path / f"out{number}", where)
        assert names(tmp_path / f"out{number}") == ["theirs"]
    assert "404" in cli.run("build", "-f", f"{address}/nothing.df", context, code=1).stderr


def test_git_contexts(cli, tmp_path, repository) -> None:
    builds: list[tuple[str, list[str], list[str]]] = [
        (repository, [], sorted([*FILES, "later", ".dockerignore"])),
        (f"{repository}#v1", [], sorted(FILES)),
        (f"{repository}#v1", ["-f", "sub/other.df"], ["s/b", "s/other.df"]),
        (f"{repository}#v1:sub", ["-f", "other.df", "--build-context", f"sub={repository}#v1"], []),
    ]
    for number, (where, flags, expected) in enumerate(builds[:3]):
        cli.run("build", *flags, "-o", tmp_path / str(number), where)
        assert names(tmp_path / str(number)) == expected
    own = tmp_path / "own.df"
    own.write_text("FROM scratch\nCOPY . /\n")
    cli.run("build", "-f", own, "-o", tmp_path / "sub", f"{repository}#v1:sub")
    assert names(tmp_path / "sub") == ["b", "other.df"]
    done = cli.run("build", f"{repository}#nowhere", code=1)
    assert "nowhere" in done.stderr


def test_git_contexts_with_queries(cli, tmp_path, repository) -> None:
    listed = subprocess.run(
        ["git", "ls-remote", repository], capture_output=True, text=True, check=True
    ).stdout
    commits = {name: sha for sha, _, name in (line.partition("\t") for line in listed.splitlines())}
    first = commits["refs/tags/v1"]
    copying = tmp_path / "own.df"
    copying.write_text("FROM scratch\nCOPY . /\n")
    for number, (query, expected) in enumerate(
        [
            ("tag=v1", sorted(FILES)),
            (
                "branch=main&checksum=" + commits["refs/heads/main"][:3],
                sorted([*FILES, "later", ".dockerignore"]),
            ),
            ("ref=main&subdir=sub&mtime=commit", ["b", "other.df"]),
            (f"ref=nowhere&fetch-by-commit&commit={first}", sorted(FILES)),
        ]
    ):
        cli.run("build", "-f", copying, "-o", tmp_path / str(number), f"{repository}?{query}")
        assert names(tmp_path / str(number)) == expected
    assert (tmp_path / "2/b").stat().st_mtime < time.time() - 86400
    for query, text in [
        ("fetch-by-commit", "fetch-by-commit requires a checksum or a commit SHA ref"),
        ("checksum=0000&tag=v1", "not 0000"),
        ("mtime=x", 'invalid mtime value: "x"'),
        ("ref=x#y", 'ref conflicts: "y" vs "x"'),
    ]:
        assert text in cli.run("build", f"{repository}?{query}", code=1).stderr


def test_git_repositories_are_added_by_their_queries(cli, project, tmp_path, repository) -> None:
    text = (
        f"FROM scratch\nADD {repository}?tag=v1&keep-git-dir=true /old/\n"
        f"ADD {repository}?ref=refs/heads/main&subdir=sub /sub/\n"
    )
    cli.build(project(text, base=False), "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["old", "sub"]
    assert sorted(path.name for path in (tmp_path / "out/old").iterdir()) == [
        ".git",
        "Dockerfile",
        "a",
        "sub",
    ]
    assert names(tmp_path / "out/sub") == ["b", "other.df"]


def test_a_context_that_is_a_link(cli, tmp_path) -> None:
    write(tmp_path / "real", {**FILES, ".dockerignore": "a\n"})
    (tmp_path / "link").symlink_to("real")
    cli.run("build", "-o", tmp_path / "out", tmp_path / "link")
    assert names(tmp_path / "out") == [".dockerignore", "Dockerfile", "sub/b", "sub/other.df"]
    cli.run("build", "-f", tmp_path / "link/sub/other.df", "-o", tmp_path / "two", tmp_path / "link")
    assert names(tmp_path / "two") == ["s/b", "s/other.df"]


def test_the_dockerfiles_own_ignore_file_wins(cli, tmp_path) -> None:
    """It lies beside the Dockerfile, in the context or not."""
    folder = write(tmp_path / "ctx", {**FILES, ".dockerignore": "a\n", "My.df": FILES["Dockerfile"]})
    cli.run("build", "-f", folder / "My.df", "-o", tmp_path / "1", folder)
    assert "a" not in names(tmp_path / "1")
    write(folder, {"My.df.dockerignore": "sub\n*ockerfile\n"})
    cli.run("build", "-f", folder / "My.df", "-o", tmp_path / "2", folder)
    assert names(tmp_path / "2") == [".dockerignore", "My.df", "My.df.dockerignore", "a"]
    write(tmp_path / "out", {"My.df": FILES["Dockerfile"], "My.df.dockerignore": "**/b\n"})
    cli.run("build", "-f", tmp_path / "out/My.df", "-o", tmp_path / "3", folder)
    assert "sub/b" not in names(tmp_path / "3")
    assert "a" in names(tmp_path / "3")


def test_sources_with_a_backslash_are_names_unless_they_have_a_wildcard(cli, tmp_path) -> None:
    dockerfile = (
        "FROM scratch AS all\nCOPY . /\nFROM scratch\n"
        "COPY --exclude=*.txt b\\\\s.txt /named/\n"
        "COPY --parents d\\\\e/b\\\\s.txt /parents/\n"
        "COPY d\\\\e/*.txt /in/\n"
        "COPY --from=all b\\\\s* /matched/\n"
    )
    folder = write(
        tmp_path / "ctx", {"Dockerfile": dockerfile, "b\\s.txt": "", "bs.txt": "", "d\\e/b\\s.txt": ""}
    )
    cli.run("build", "-o", tmp_path / "out", folder)
    assert names(tmp_path / "out") == [
        "in/b\\s.txt",
        "matched/bs.txt",
        "named/b\\s.txt",
        "parents/d\\e/b\\s.txt",
    ]


# -- named contexts


def test_a_directory_as_named_context(cli, tmp_path) -> None:
    """It has an ignore file of its own; it stands in for a stage, an image, or the source of a mount."""
    folder = write(tmp_path / "ctx", {"Dockerfile": "FROM scratch\nCOPY --from=other . /\n"})
    other = write(tmp_path / "other", {"x": "1", "y": "2", ".dockerignore": "y\n"})
    cli.run("build", "--build-context", f"other={other}", "-o", tmp_path / "out", folder)
    assert names(tmp_path / "out") == [".dockerignore", "x"]
    write(
        folder,
        {"Dockerfile": "FROM nobody/knows:1 AS other\nRUN false\nFROM scratch\nCOPY --from=other x /\n"},
    )
    cli.run("build", "--build-context", f"other={other}", "-o", tmp_path / "two", folder)
    assert names(tmp_path / "two") == ["x"]
    write(
        folder, {"Dockerfile": "FROM scratch\nCOPY --from=dockerfile x /\nCOPY --from=context Dockerfile /\n"}
    )
    both = ("--build-context", f"dockerfile={other}", "--build-context", f"context={folder}")
    cli.run("build", *both, "-o", tmp_path / "three", folder)
    assert names(tmp_path / "three") == ["Dockerfile", "x"]


@pytest.fixture
def layout(cli, project, tmp_path) -> Path:
    """Return an OCI layout with two images, ``one`` and ``two``, that say which they are."""
    for tag in ("one", "two"):
        folder = project(f"FROM base\nENV TAG={tag}\nRUN echo $TAG > /tag\n", name=tag)
        outputs = ("-o", f"type=oci,tar=false,dest={tmp_path}/layout", "-o", "type=image")
        cli.build(folder, *outputs, "-t", f"local:{tag}")
    return tmp_path / "layout"


USER = "FROM {}\nRUN echo $TAG $(cat /tag) > /said\nFROM scratch\nCOPY --from=0 /said /\n"


def test_images_replace_stages_and_images(cli, project, tmp_path, layout) -> None:
    """A name without a tag is for ``latest`` alone, as a name with one is for that tag."""
    digest = subprocess.run(
        ["sh", "-c", f"grep -o 'sha256:[0-9a-f]*' {layout}/index.json | head -1"], capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    cases = [
        ("app", "app=docker-image://local:two", "two"),
        ("app", f"app=oci-layout://{layout}:one", "one"),
        ("app", f"app=oci-layout://{layout}:two", "two"),
        ("app", f"app=oci-layout://{layout}@{digest}", "one"),
        ("app:latest", "app=docker-image://local:two", "two"),
        ("app", "app:latest=docker-image://local:two", "two"),
        ("docker.io/library/app", "app=docker-image://local:two", "two"),
        ("local:one", "local:one=docker-image://local:two", "two"),
        ("local:one", "local=docker-image://local:two", "one"),
        ("example.test/deep/app:3", f"example.test/deep/app:3=oci-layout://{layout}:two", "two"),
        ("local:one AS stage\nRUN true\nFROM stage", "stage=docker-image://local:two", "two"),
    ]
    for number, (base, context, expected) in enumerate(cases):
        text = USER.format(base).replace("--from=0", f"--from={base.count('FROM')}")
        cli.build(
            project(text, base=False, name="user"),
            "--build-context",
            context,
            "-o",
            tmp_path / f"out{number}",
        )
        assert (tmp_path / f"out{number}/said").read_text() == f"{expected} {expected}\n", context


def test_contexts_for_one_platform_only(cli, project, tmp_path) -> None:
    folder = project("FROM scratch\nCOPY --from=other f /\n", {"a/f": "arm", "d/f": "other"}, base=False)
    cli.build(
        folder, "--build-context", f"other::linux/arm64={folder}/a", "--build-context", f"other={folder}/d",
        "--platform=linux/arm64,linux/amd64", "-o", tmp_path / "out",
    )  # fmt: skip
    assert (tmp_path / "out/linux_arm64/f").read_text() == "arm"
    assert (tmp_path / "out/linux_amd64/f").read_text() == "other"


def test_addresses_as_named_contexts(cli, project, tmp_path, served, repository) -> None:
    folder, address = served
    (folder / "file").write_text("served")
    text = "FROM scratch\nCOPY --from=git a /fromgit\nCOPY --from=web context /web\nCOPY --from=sub b /sub\n"
    cli.build(
        project(text, base=False), "--build-context", f"git={repository}", "--build-context", f"web={address}/file",
        "--build-context", f"sub={repository}#v1:sub", "-o", tmp_path / "out",
    )  # fmt: skip
    assert names(tmp_path / "out") == ["fromgit", "sub", "web"]
    assert (tmp_path / "out/web").read_text() == "served"
    (folder / "packed").write_bytes(archive(FILES))
    whole = project("FROM packed\n", base=False)
    cli.build(whole, "--build-context", f"packed={address}/packed", "-o", tmp_path / "whole")
    assert names(tmp_path / "whole") == ["context"]
    assert (tmp_path / "whole/context").read_bytes() == archive(FILES)


TARGETS = """
FROM base AS tools
ARG TARGETARCH
ENV TAG=tools
RUN echo tools > /tag && echo $TARGETARCH > /arch
FROM other AS app
RUN echo $TAG $(cat /tag) $(cat /arch) > /said
FROM scratch
COPY --from=app /said /
"""


def test_another_target_as_named_context(cli, project, tmp_path) -> None:
    cli.build(project(TARGETS), "--build-context", "other=target:tools", "-o", tmp_path / "out")
    assert (tmp_path / "out/said").read_text().startswith("tools tools")
    done = cli.build(project(TARGETS), "--build-context", "other=target:tool", code=1)
    assert "tools" in done.stderr
    done = cli.build(project(TARGETS), "--build-context", "other=target:", code=2)
    assert "target:STAGE" in done.stderr


def test_another_target_is_taken_for_each_platform(cli, project, tmp_path) -> None:
    text = "FROM scratch AS one\nARG TARGETARCH\nCOPY $TARGETARCH /f\nFROM scratch\nCOPY --from=other /f /\n"
    folder = project(text, {"arm64": "arm64", "amd64": "amd64"}, base=False)
    cli.build(
        folder, "--build-context", "other=target:one", "--platform=linux/arm64,linux/amd64", "-o", tmp_path / "out"
    )  # fmt: skip
    for architecture in ("arm64", "amd64"):
        assert (tmp_path / f"out/linux_{architecture}/f").read_text() == architecture


def test_contexts_that_are_not_there(cli, project, tmp_path) -> None:
    folder = project("FROM other\n", base=False)
    for value, code, hint in [
        (f"{tmp_path}/proyect", 2, f"{tmp_path}/project"),
        (f"oci-layout://{tmp_path}", 2, "not an OCI layout"),
        ("docker-image://127.0.0.1:1/x", 1, "127.0.0.1:1"),
        ("ftp://example.test/x", 1, "unsupported context source ftp"),
    ]:
        assert hint in cli.build(folder, "--build-context", f"other={value}", code=code).stderr
