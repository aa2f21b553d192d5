# SPDX-License-Identifier: Apache-2.0
"""Whole builds: the image matches the Dockerfile."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import tarfile

import pytest

from llbkit import Engine, llb
from llbkit.solver.events import VertexLog

pytestmark = pytest.mark.root


def printed(line: str, progress: str) -> bool:
    """Tell whether a step printed a line, in plain progress."""
    return re.search(rf"^#\d+ [\d.]+ {re.escape(line)}$", progress, re.MULTILINE) is not None


def test_two_stages_become_an_oci_archive(cli, project, tmp_path, read_image) -> None:
    folder = project(
        "FROM base AS build\nCOPY greeting /src/\nRUN tr a-z A-Z < /src/greeting > /loud\n"
        'FROM base\nCOPY --from=build /loud /loud\nENV MOOD=fine\nCMD ["cat", "/loud"]\n',
        {"greeting": "hello\n"},
    )
    cli.build(folder, "-t", "greet:1", "-o", f"type=oci,dest={tmp_path}/x.tar")
    image = read_image(tmp_path / "x.tar")
    assert image.contents["loud"] == b"HELLO\n"
    assert "src/greeting" not in image.files
    assert image.config["config"]["Cmd"] == ["cat", "/loud"]
    assert "MOOD=fine" in image.config["config"]["Env"]
    assert len(image.config["rootfs"]["diff_ids"]) == len(image.manifest["layers"]) == 3
    assert [h.get("empty_layer", False) for h in image.config["history"]].count(False) == 3


def test_only_stages_that_the_target_needs_run(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base AS wanted\nRUN echo wanted > /f\nFROM base AS broken\nRUN exit 1\nFROM wanted\nRUN cat /f\n"
    )
    done = cli.build(folder, "-o", tmp_path / "out")
    assert "exit 1" not in done.stderr
    assert cli.build(folder, "--target", "broken", code=1)


def test_the_second_build_runs_nothing(cli, project) -> None:
    folder = project("FROM base\nCOPY a /a\nRUN cat /a > /b\n", {"a": "1"})
    first = cli.build(folder)
    assert "DONE" in first.stderr
    second = cli.build(folder)
    steps = [line for line in second.stderr.splitlines() if "] RUN" in line or "] COPY" in line]
    assert len(steps) == 4
    assert second.stderr.count("CACHED") >= 4


def test_a_changed_file_reruns_only_what_sees_it(cli, project) -> None:
    folder = project(
        "FROM base AS one\nCOPY a /a\nRUN echo one $(cat /a)\n"
        "FROM base AS two\nCOPY b /b\nRUN echo two $(cat /b) > /two\n"
        "FROM base\nCOPY --from=one /a /a\nCOPY --from=two /two /two\nRUN echo last\n",
        {"a": "1", "b": "1"},
    )
    cli.build(folder)
    (folder / "b").write_text("2")
    again = cli.build(folder).stderr
    assert not printed("one 1", again)
    assert printed("last", again)


def test_the_same_content_is_a_hit_even_if_the_step_before_ran(cli, project) -> None:
    """A stage runs again but gives the same file, so that what copies the file does not run."""
    text = "FROM base AS gen\nRUN echo {} >/dev/null; echo same > /f\nFROM base\nCOPY --from=gen /f /f\nRUN cat /f\n"
    cli.build(project(text.format("a")))
    again = cli.build(project(text.format("b"))).stderr
    lines = [line for line in again.splitlines() if "RUN cat /f" in line]
    number = lines[0].split(" ")[0]
    assert f"{number} CACHED" in again


def test_touching_a_file_changes_nothing(cli, project) -> None:
    folder = project("FROM base\nCOPY a /a\nRUN echo ran\n", {"a": "1"})
    cli.build(folder)
    os.utime(folder / "a", (1, 1))
    assert not printed("ran", cli.build(folder).stderr)


@pytest.mark.usefixtures("on_both_snapshotters")
def test_run_mounts_of_every_type(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base AS other\nRUN mkdir /d && echo other > /d/f\n"
        "FROM base\n"
        "RUN --mount=type=bind,target=/ctx cat /ctx/file > /bind\n"
        "RUN --mount=type=bind,from=other,source=/d,target=/m,rw echo x > /m/new && cat /m/f > /from\n"
        "RUN --mount=type=cache,target=/c echo kept >> /c/log && wc -l < /c/log > /lines\n"
        "RUN --mount=type=tmpfs,target=/t,size=65536 mount | grep ' /t ' > /tmpfs\n"
        "RUN --mount=type=secret,id=s,target=/k,mode=0440 cp /k /dev/null && stat -c %a /k > /mode\n"
        'RUN --mount=type=secret,id=s,env=S case "$S" in hidden?value) ;; *) exit 1 ;; esac\n'
        "RUN --network=none ip link | grep -c UP > /links || true\n"
        "RUN --mount=type=cache,target=/c,sharing=locked wc -l < /c/log > /lines2\n",
        {"file": "bound\n"},
    )
    (tmp_path / "secret").write_text("hidden-value")
    cli.build(folder, "--secret", f"id=s,src={tmp_path}/secret", "-o", tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "bind").read_text() == "bound\n"
    assert (out / "from").read_text() == "other\n"
    assert (out / "lines").read_text().strip() == "1"
    assert (out / "lines2").read_text().strip() == "1"
    assert "tmpfs" in (out / "tmpfs").read_text()
    assert (out / "mode").read_text() == "440\n"
    for gone in ("ctx", "m", "c", "t", "k", "run/secrets"):
        assert not (out / gone).exists(), gone
    for path in out.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 16:
            assert b"hidden-value" not in path.read_bytes()
    state = subprocess.run(
        ["grep", "-rl", "hidden-value", cli.root], capture_output=True, text=True, check=False
    )
    assert state.stdout == ""


def test_copy_flags(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base\n"
        "COPY <<EOF /etc/passwd\nroot:x:0:0::/:\nann:x:1234:1234::/:\nEOF\n"
        "COPY <<EOF /etc/group\nroot:x:0:\nann:x:1234:\nEOF\n"
        "COPY --chown=ann:ann --chmod=0640 src/a.txt /owned\n"
        "COPY --parents src/./deep/b.txt /parents/\n"
        "COPY --exclude=*.md src /excluded/\n"
        "COPY src/*.txt /wild/\n"
        "COPY --link src/a.txt /linked/a\n"
        "ADD data.tar.gz /unpacked/\n"
        "RUN stat -c '%u:%g %a' /owned > /stat\n",
        {"src/a.txt": "a", "src/deep/b.txt": "b", "src/notes.md": "n"},
    )
    with tarfile.open(folder / "data.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("inside/file")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
    cli.build(folder, "-o", tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "stat").read_text() == "1234:1234 640\n"
    assert (out / "parents/deep/b.txt").read_text() == "b"
    assert sorted(p.name for p in (out / "excluded").iterdir()) == ["a.txt", "deep"]
    assert [p.name for p in (out / "wild").iterdir()] == ["a.txt"]
    assert (out / "linked/a").read_text() == "a"
    assert (out / "unpacked/inside/file").read_text() == "data"


def test_dockerignore_hides_files(cli, project, tmp_path) -> None:
    folder = project(
        "FROM scratch\nCOPY . /all\n", {"keep": "1", "drop.log": "1", "sub/drop.log": "1", ".dockerignore": "**/*.log\n"},
        base=False,
    )  # fmt: skip
    cli.build(folder, "-o", tmp_path / "out")
    names = {
        str(p.relative_to(tmp_path / "out/all")) for p in (tmp_path / "out/all").rglob("*") if p.is_file()
    }
    assert names == {"keep", ".dockerignore", "Dockerfile", "busybox"}


def test_arguments_labels_and_users(cli, project, tmp_path, read_image) -> None:
    folder = project(
        "ARG TAG=none\nFROM base\nARG TAG\nRUN echo $TAG > /tag\nLABEL a=b\nUSER 1000:1000\nWORKDIR /w\n"
        "EXPOSE 80\nVOLUME /v\nSTOPSIGNAL SIGINT\nHEALTHCHECK CMD true\nRUN id -u > /tmp/../w/id || id -u\n",
    )
    (folder / "Dockerfile").write_text(
        (folder / "Dockerfile").read_text().replace("FROM scratch AS", "ARG TAG=none\nFROM scratch AS", 1)
    )
    cli.build(folder, "--build-arg", "TAG=v2", "--label", "c=d", "-o", f"type=oci,dest={tmp_path}/x.tar")
    image = read_image(tmp_path / "x.tar")
    assert image.contents["tag"] == b"v2\n"
    assert image.config["config"]["Labels"] == {"a": "b", "c": "d"}
    assert image.config["config"]["User"] == "1000:1000"
    assert image.config["config"]["WorkingDir"] == "/w"


def test_several_outputs_of_one_build(cli, project, tmp_path) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    cli.build(
        folder, "-t", "multi:1", "-o", f"type=oci,dest={tmp_path}/oci.tar", "-o", f"type=docker,dest={tmp_path}/d.tar",
        "-o", f"type=tar,dest={tmp_path}/t.tar", "-o", tmp_path / "dir", "-o", "type=image",
        "--metadata-file", tmp_path / "meta.json", "--iidfile", tmp_path / "iid",
    )  # fmt: skip
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["containerimage.config.digest"] == (tmp_path / "iid").read_text()
    assert meta["containerimage.descriptor"]["digest"] == meta["containerimage.digest"]
    assert (tmp_path / "dir/x").read_text() == "x\n"
    with tarfile.open(tmp_path / "t.tar") as archive:
        assert archive.extractfile("x").read() == b"x\n"  # type: ignore[union-attr]
    with tarfile.open(tmp_path / "d.tar") as archive:
        listing = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert listing[0]["RepoTags"] == ["multi:1"]
    assert "multi" in cli.run("images").stdout
    cli.run("rmi", "multi:1")
    assert "multi" not in cli.run("images").stdout


def test_a_tar_on_standard_output(cli, project) -> None:
    folder = project("FROM scratch\nCOPY a /a\n", {"a": "1"}, base=False)
    done = subprocess.run(
        cli.argv("build", "--progress=quiet", "-o", "-", folder),
        env=cli.env(),
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getnames() == ["a"]


def test_a_local_image_can_be_a_base(cli, project, tmp_path) -> None:
    cli.build(project("FROM base\nRUN echo first > /first\n", name="one"), "-t", "mine:1")
    cli.build(
        project("FROM mine:1\nRUN cat /first > /second\n", base=False, name="two"), "-o", tmp_path / "out"
    )
    assert (tmp_path / "out/second").read_text() == "first\n"


def test_a_local_image_can_be_a_named_context(cli, project, tmp_path) -> None:
    cli.build(project("FROM base\nRUN echo first > /first\n", name="one"), "-t", "mine:1")
    two = project("FROM parent\nRUN cat /first > /second\n", base=False, name="two")
    cli.build(two, "--build-context", "parent=docker-image://mine:1", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "second").read_text() == "first\n"


def test_the_library_finds_local_images_as_the_command_does(cli, project) -> None:
    cli.build(project("FROM base\nRUN echo first > /first\n"), "-t", "mine:1")
    step = llb.image("mine:1").run(["cat", "/first"])
    logs: list[bytes] = []
    with Engine(root=cli.root) as engine:
        asyncio.run(
            engine.solve(
                step.root.graph(),
                progress=lambda event: logs.append(event.data) if isinstance(event, VertexLog) else None,
            )
        )
    assert b"".join(logs) == b"first\n"


def test_an_oci_layout_can_be_a_base(cli, project, tmp_path) -> None:
    cli.build(
        project("FROM base\nRUN echo first > /first\n", name="one"),
        "-o",
        f"type=oci,tar=false,dest={tmp_path}/layout",
    )
    two = project("FROM parent\nRUN cat /first > /second\n", base=False, name="two")
    cli.build(two, "--build-context", f"parent=oci-layout://{tmp_path}/layout", "-o", tmp_path / "out")
    assert (tmp_path / "out/second").read_text() == "first\n"


def test_onbuild_triggers_of_a_base_run(cli, project, tmp_path) -> None:
    cli.build(
        project("FROM base\nONBUILD COPY a /a\nONBUILD RUN cat /a > /b\n", name="one"), "-t", "trigger:1"
    )
    cli.build(project("FROM trigger:1\n", {"a": "x"}, base=False, name="two"), "-o", tmp_path / "out")
    assert (tmp_path / "out/b").read_text() == "x"


def test_whiteouts_reach_the_image(cli, project, tmp_path, read_image) -> None:
    folder = project(
        "FROM base\nRUN mkdir /d && echo 1 > /d/a && echo 2 > /d/b\nRUN rm /d/a && rm -r /tmp 2>/dev/null; true\n"
    )
    cli.build(folder, "-o", f"type=oci,dest={tmp_path}/x.tar")
    image = read_image(tmp_path / "x.tar")
    assert "d/b" in image.files
    assert "d/a" not in image.files


def test_no_cache_runs_again(cli, project) -> None:
    folder = project("FROM base\nRUN echo ran\n")
    cli.build(folder)
    assert not printed("ran", cli.build(folder).stderr)
    assert printed("ran", cli.build(folder, "--no-cache").stderr)


def test_the_same_build_gives_the_same_image(cli, project, tmp_path) -> None:
    """With SOURCE_DATE_EPOCH and rewrite-timestamp, two state directories and two runtimes make equal images."""
    folder = project("FROM base\nRUN echo x > /x && mkdir -p /a/b\nCOPY a /a/b/c\n", {"a": "1"})
    settings = tmp_path / "config.toml"
    cli.environment["LLBKIT_CONFIG"] = str(settings)
    digests = []
    for number, runtime in ((1, "crun"), (2, "runc")):
        settings.write_text(f'runtime = "{runtime}"\n')
        cli.root = tmp_path / f"state{number}"
        os.utime(folder / "a", (10**9 * number, 10**9 * number))
        cli.build(
            folder, "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "--metadata-file", tmp_path / "m",
            "-o", f"type=oci,dest={tmp_path}/x.tar,rewrite-timestamp=true",
        )  # fmt: skip
        digests.append(json.loads((tmp_path / "m").read_text())["containerimage.digest"])
    assert digests[0] == digests[1]


def test_relative_paths_start_where_the_user_is(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base\nRUN --mount=type=secret,id=s,required cp /run/secrets/s /x\n", {"word": "hidden"}
    )
    for output in ("type=local,dest=out", "type=tar,dest=x.tar", "type=oci,dest=oci.tar"):
        cli.run("build", "--secret", "id=s,src=word", "-o", output, ".", "--no-cache", cwd=folder)
    assert (folder / "out" / "x").read_text() == "hidden"
    assert (folder / "x.tar").exists()
    assert (folder / "oci.tar").exists()


def test_a_dockerfile_from_standard_input(cli) -> None:
    done = cli.run(
        "build", "--progress=plain", "-o", "type=cacheonly", "-", stdin=b"FROM scratch\nCOPY <<E /a\nx\nE\n"
    )
    assert "DONE" in done.stderr


@pytest.mark.parametrize("form", ["json", "text", "dot", "pb", "svg", "mermaid"])
def test_compile_executes_nothing(cli, project, tmp_path, form: str) -> None:
    folder = project("FROM base\nRUN exit 9\n")
    cli.run("compile", "--format", form, "-o", tmp_path / "out", folder)
    assert (tmp_path / "out").stat().st_size > 100


def test_quiet_prints_the_image_id(cli, project) -> None:
    done = cli.run("build", "-q", project("FROM scratch\nCOPY Dockerfile /\n", base=False))
    assert done.stdout.startswith("sha256:")
    assert done.stderr == ""


def test_two_builds_share_one_state_directory(cli, project) -> None:
    folder = project("FROM base\nRUN sleep 0.3; echo x > /x\n")
    builds = [
        subprocess.Popen(
            cli.argv("build", "--progress=plain", folder), env=cli.env(), stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    printed = [process.communicate()[1] for process in builds]
    assert [process.returncode for process in builds] == [0, 0, 0], "\n".join(printed)


def test_du_and_prune_know_what_is_kept(cli, project) -> None:
    folder = project("FROM base\nRUN echo x > /x\n")
    cli.build(folder, "-t", "kept:1")
    assert "Total" in cli.run("du").stdout
    cli.run("prune", "--all", "--force")
    assert "kept" in cli.run("images").stdout
    cli.run("rmi", "kept:1")
    cli.run("prune", "--all", "--force")
    assert list((cli.root / "layers").iterdir()) == []
    cli.build(folder, "-t", "kept:1")


def test_prune_spares_cache_mounts_the_young_and_what_fits(cli, project) -> None:
    folder = project(
        "FROM base\nRUN --mount=type=cache,target=/c head -c 300000 /dev/zero > /c/f; echo x > /x\n"
    )
    cli.build(folder)
    before = json.loads(cli.run("du", "--format=json").stdout)
    assert {row["kind"] for row in before} >= {"layer", "cache mount"}
    for spared in (("--filter", "until=1h"), ("--max-used-space", "1g")):
        assert json.loads(cli.run("prune", "--all", "--force", "--format=json", *spared).stdout) == []
    gone = json.loads(cli.run("prune", "--force", "--format=json").stdout)
    assert {row["kind"] for row in gone} >= {"layer"}
    assert [row["kind"] for row in json.loads(cli.run("du", "--format=json").stdout)] == ["cache mount"]
    cli.run("prune", "--all", "--force")
    assert json.loads(cli.run("du", "--format=json").stdout) == []
    cli.build(folder)
    cache = json.loads(cli.run("du", "--filter", "type=exec.cachemount", "--format=json").stdout)
    assert [row["kind"] for row in cache] == ["cache mount"]
    kept = cli.run("prune", "-f", "--reserved-space", "1g", "--format=json").stdout
    assert json.loads(kept) == []
    assert "colour" in cli.run("du", "--filter", "colour=red", code=1).stderr
    assert "until" in cli.run("prune", "--filter", "until=soon", "--force", code=2).stderr


def test_checks_print_warnings_and_exit_with_one(cli, project) -> None:
    folder = project("FROM base AS Final\nRUN true\n")
    done = cli.run("build", "--check", folder, code=1)
    assert "StageNameCasing" in done.stdout
    shown = cli.build(folder).stderr
    assert "#1 [internal] load build definition from Dockerfile" in shown
    assert "#1 WARN: StageNameCasing" in shown


def test_calls_answer_instead_of_building(cli, project) -> None:
    folder = project("FROM base AS one\nRUN false\nFROM one\nCOPPY a /\n")
    done = cli.run("build", "--call=check,format=json", folder, code=1)
    assert "COPPY" in json.loads(done.stdout)["buildError"]["message"]
    (folder / "Dockerfile").write_text(
        "FROM scratch AS one\nRUN false\nFROM --platform=$BUILDPLATFORM one AS two\n"
    )
    answer = json.loads(cli.run("build", "--call=targets,format=json", folder).stdout)
    assert [target["name"] for target in answer["targets"]] == ["one", "two"]
    assert answer["targets"][1]["platform"] == "$BUILDPLATFORM"
    assert "no warnings found" in cli.build(folder, "--check").stdout
    assert "did you mean outline?" in cli.run("build", "--call=outlin", folder, code=2).stderr
    (folder / "Dockerfile").write_text("ARG V=1\nFROM scratch AS v$V\nARG V\n")
    assert "v$V" in cli.run("build", "--call=outline", folder, code=1).stderr
    (folder / "Dockerfile").write_text("FROM scratch AS v\n# V is the version\nARG V=1\n")
    shown = cli.run("build", "--call=outline", "--build-arg", "V=2", folder).stdout
    assert shown == "TARGET: v\n\nBUILD ARG   VALUE   DESCRIPTION\nV           2       is the version\n\n"
    assert "result" not in cli.run("build", "--call=convertllb", folder).stderr


@pytest.mark.usefixtures("on_both_snapshotters")
def test_both_snapshotters_keep_deletions_and_changes(cli, project, tmp_path) -> None:
    folder = project(
        "FROM base AS one\nRUN mkdir /d && echo a > /d/a && echo gone > /gone\n"
        "FROM one\nRUN rm /gone && echo b > /d/b && echo more >> /d/a\nCOPY --from=one /gone /copied\n"
    )
    for out in ("first", "again"):
        cli.build(folder, "-o", tmp_path / out)
        assert (tmp_path / out / "d" / "a").read_text() == "a\nmore\n"
        assert (tmp_path / out / "d" / "b").read_text() == "b\n"
        assert not (tmp_path / out / "gone").exists()
        assert (tmp_path / out / "copied").read_text() == "gone\n"
