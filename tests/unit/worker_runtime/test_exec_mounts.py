# SPDX-License-Identifier: Apache-2.0
"""What a step sees of its mounts, and what of them stays behind, on both snapshotters and with both runtimes."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from llbkit.llb.ir import ops
from llbkit.worker.base import ExecError, WorkerError
from llbkit.worker.session.local import LocalSession

pytestmark = pytest.mark.root

_MADE_BY_RUNTIMES = {"dev", "proc", "sys"}
"""Where a root has none; BuildKit keeps them too."""


def bind(dest: str, selector: str = "", *, readonly: bool = True, output: int = -1) -> ops.Mount:
    return ops.Mount(dest=dest, input=1, selector=selector, output=output, readonly=readonly)


def tmpfs(dest: str, size: int = 0) -> ops.Mount:
    options = ops.TmpfsOpt(size=size)
    return ops.Mount(dest=dest, input=-1, output=-1, mount_type=ops.MountType.TMPFS, tmpfs=options)


def secret(dest: str, **options: object) -> ops.Mount:
    made = ops.SecretOpt(**{"id": "s", "mode": 0o400, **options})  # type: ignore[arg-type]
    return ops.Mount(dest=dest, input=-1, mount_type=ops.MountType.SECRET, secret=made)


@pytest.fixture
def source(bench):
    """A single layer, which snapshotters show as it lies on disk."""

    def fill(root) -> None:
        (root / "d").mkdir()
        (root / "d/file").write_text("content")
        (root / "link").symlink_to("d/file")
        (root / "out").symlink_to("/etc/passwd")

    return bench.snapshot(fill)


# -- bind mounts


def test_a_bind_shows_what_its_selector_names(bench, source) -> None:
    script = "cat /m/d/file /part/file /one /by/link"
    mounts = (bind("/m"), bind("/part", "/d"), bind("/one", "d/file"), bind("/by/link", "/link"))
    assert bench.output(script, *mounts, inputs=(source,)) == "content" * 4


def test_a_selector_that_names_nothing_is_an_error_with_a_next_step(bench, source) -> None:
    with pytest.raises(WorkerError, match="/d/flie does not exist") as caught:
        bench.run("true", bind("/m", "/d/flie"), inputs=(source,))
    assert "source=" in caught.value.help


def test_a_selector_through_a_link_stays_in_its_source(bench, source) -> None:
    """The host has an /etc/passwd, the source has none."""
    with pytest.raises(WorkerError, match="does not exist in its source"):
        bench.run("true", bind("/m", "/out"), inputs=(source,))


def test_a_read_only_bind_cannot_be_written(bench, source) -> None:
    script = "fails 'echo x > /m/d/file'; fails 'echo x > /m/new'; fails 'rm /m/d/file'; fails 'chmod 0 /m/d'; fails 'echo x > /one'"
    bench.run(script, bind("/m"), bind("/one", "/d/file"), inputs=(source,))
    assert bench.top(source) == {"d", "d/file", "link", "out"}
    assert bench.text(source, "d/file") == "content"


def test_a_place_missing_in_a_read_only_bind_never_gets_into_its_layer(bench, source) -> None:
    """A runtime makes mount points wherever they are missing, also in what it has mounted itself."""
    with pytest.raises(ExecError, match=r"(?i)read-only"):
        bench.run("true", bind("/m"), tmpfs("/m/deep/new"), inputs=(source,))
    assert bench.top(source) == {"d", "d/file", "link", "out"}


def test_a_place_that_exists_in_a_read_only_bind_is_covered(bench, source) -> None:
    assert bench.output("ls /m /m/d", bind("/m"), tmpfs("/m/d"), inputs=(source,)).split() == [
        "/m:", "d", "link", "out", "/m/d:",
    ]  # fmt: skip


def test_a_writable_bind_without_output_forgets(bench, source) -> None:
    script = "echo more >> /m/d/file; echo x > /m/new; cat /m/d/file"
    result = bench.run(script, bind("/m", readonly=False), inputs=(source,))
    assert bench.text(source, "d/file") == "content"
    assert not {name for name in bench.top(result[0]) if name.startswith("m")}


def test_a_writable_bind_with_output_is_a_second_result(bench, source) -> None:
    result = bench.run(
        "echo x > /m/new; rm /m/d/file; echo y > /y", bind("/m", readonly=False, output=1), inputs=(source,)
    )
    assert bench.text(result[0], "y") == "y\n"
    assert bench.text(result[1], "new") == "x\n"
    assert bench.inside(result[1], lambda root: sorted(os.listdir(root / "d"))) == []
    assert "m" not in bench.top(result[0])


def test_a_read_only_output_is_its_input(bench, source) -> None:
    result = bench.run("true", bind("/m", output=1), inputs=(source,))
    assert result[1] == source


def test_a_bind_of_nothing_is_an_empty_directory(bench) -> None:
    mount = ops.Mount(dest="/m", input=-1, output=1)
    result = bench.run('test -z "$(ls /m)"; echo x > /m/x', mount)
    assert bench.text(result[1], "x") == "x\n"


def test_a_relative_target_is_below_the_working_directory(bench, source) -> None:
    assert bench.output("cat /w/here/d/file", bind("here"), inputs=(source,), meta={"cwd": "/w"}) == "content"


# -- the places of mounts


@pytest.mark.parametrize("recursive", [True, False])
def test_places_made_for_mounts_are_removed_again(bench, source, recursive) -> None:
    mounts = (bind("/a/b/file", "/d/file"), tmpfs("/a/c/t"), tmpfs("/tmp/t"))
    result = bench.run("true", *mounts, inputs=(source,), meta={"remove_mount_stubs_recursive": recursive})
    left = bench.top(result[0]) - _MADE_BY_RUNTIMES
    assert left - {"etc", "tmp"} == (set() if recursive else {"a", "a/b", "a/c"})
    assert not any(name.startswith("etc/") for name in left)


def test_places_leave_no_trace_in_times(bench) -> None:
    def times(root):
        return {name: (root / name).stat().st_mtime_ns for name in ("tmp", "etc", "usr")}

    before = bench.inside(bench.base, times)
    result = bench.run("true", tmpfs("/tmp/t"), tmpfs("/usr/a/b"))
    assert bench.inside(result[0], times) == before


def test_what_a_step_puts_into_a_made_parent_stays(bench) -> None:
    result = bench.run("echo x > /a/kept", tmpfs("/a/t"))
    assert {name for name in bench.top(result[0]) if name.startswith("a")} == {"a", "a/kept"}


def test_what_a_step_puts_where_a_made_place_was_stays(bench) -> None:
    session = LocalSession(id="t", secrets={"s": lambda: b"v"})
    result = bench.run("mv /a /x; mkdir /a; echo mine > /a/k", secret("/a/k"), session=session)
    assert bench.text(result[0], "a/k") == "mine\n"


def test_a_working_directory_in_a_mount_is_made_in_the_root_as_well(bench, source) -> None:
    """As BuildKit does, which looks for it before anything is mounted: so it is in the result."""
    result = bench.run("test -f file", bind("/m"), inputs=(source,), meta={"cwd": "/m/d", "user": "7:8"})
    assert {name for name in bench.top(result[0]) if name.startswith("m")} == {"m", "m/d"}


def test_an_existing_place_stays_as_it_was(bench) -> None:
    base = bench.run("mkdir -p /p; echo old > /p/f; mkdir /empty; true > /none", root={})[0]
    result = bench.run("echo x > /p/new", tmpfs("/p"), tmpfs("/empty"), secret("/none"),
                       base=base, session=LocalSession(id="t", secrets={"s": lambda: b"v"}))  # fmt: skip
    assert bench.text(result[0], "p/f") == "old\n"
    assert bench.inside(result[0], lambda root: sorted(os.listdir(root / "p"))) == ["f"]
    assert bench.inside(result[0], lambda root: (root / "empty").is_dir() and (root / "none").is_file())


def test_outer_mounts_come_before_inner_ones_whatever_the_order(bench, source) -> None:
    mounts = (tmpfs("/m/in"), bind("/m", readonly=False))
    assert "/m/in" in bench.output("cat /proc/mounts", *mounts, inputs=(source,)).split()
    assert bench.output("cat /m/d/file", *mounts, inputs=(source,)) == "content"


def test_places_below_links_stay_in_the_root(bench, source, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def fill(root) -> None:
        (root / "abs").symlink_to(outside)
        (root / "up").symlink_to("../../../../../../.." + os.fspath(outside))
        (root / "hosts").symlink_to(outside / "hosts")
        (root / "etc/hosts").symlink_to(outside / "hosts")
        (root / "etc/resolv.conf").symlink_to("../../../../../.." + os.fspath(outside / "resolv"))

    base = bench.snapshot(fill, bench.base)
    result = bench.run(
        "test -d /abs/t; test -d /up/u; test -s /etc/hosts; cat /up/f/file",
        tmpfs("/abs/t"), tmpfs("/up/u"), bind("/up/f", "/d"), base=base, inputs=(source,), meta={"cwd": "/abs/w"},
    )  # fmt: skip
    assert list(outside.iterdir()) == []
    inner = os.fspath(outside).lstrip("/")
    assert bench.inside(result[0], lambda root: os.listdir(root / inner)) == ["w"]


def test_places_are_not_looked_for_behind_links_that_the_step_made(bench, tmp_path) -> None:
    """The step moves a made place away and puts a link to the host there: the host's files are not ours to remove."""
    for name in ("dir", "file"):
        (tmp_path / name).mkdir()
    (tmp_path / "dir/place").mkdir()
    (tmp_path / "file/place").touch()
    before = os.stat(tmp_path / "dir").st_mtime_ns
    script = f"mv /a /x; ln -s {tmp_path}/dir /a; mv /b /y; ln -s {tmp_path}/file /b"
    session = LocalSession(id="t", secrets={"s": lambda: b"v"})
    bench.run(script, tmpfs("/a/place"), secret("/b/place"), session=session)
    assert (tmp_path / "dir/place").is_dir()
    assert (tmp_path / "file/place").is_file()
    assert os.stat(tmp_path / "dir").st_mtime_ns == before


@pytest.mark.parametrize("place", ["/bin/busybox/x", "/loop/x", "/" + "n" * 300])
def test_a_place_that_cannot_be_is_named_without_our_paths(bench, place) -> None:
    base = bench.snapshot(lambda root: (root / "loop").symlink_to("loop"), bench.base)
    with pytest.raises(WorkerError, match=f"cannot mount {place}: ") as caught:
        bench.run("true", tmpfs(place), base=base)
    assert caught.value.help
    assert os.fspath(bench.state.root) not in str(caught.value)
    with pytest.raises(WorkerError, match=f"cannot create the working directory {place}: "):
        bench.run("true", base=base, meta={"cwd": place})


def test_a_root_whose_etc_is_a_file_is_named(bench) -> None:
    base = bench.snapshot(lambda root: (root / "etc").write_text("x"))
    with pytest.raises(WorkerError, match="cannot mount /etc/hosts: Not a directory"):
        bench.run("true", base=base)


def test_a_full_disk_is_not_taken_for_a_bad_place(bench, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("llbkit.worker.ops.exec.stubs.Stubs.add", full)
    with pytest.raises(WorkerError, match="No space left") as caught:
        bench.run("true", tmpfs("/t"))
    assert "cannot mount" not in str(caught.value)


# -- the root


def test_a_read_only_root_cannot_be_written_and_is_its_own_result(bench) -> None:
    result = bench.run("fails 'echo x > /x'; fails 'mkdir /y'", tmpfs("/new/place"), root={"readonly": True})
    assert result == [bench.base]


def test_a_root_without_output_is_no_result(bench, source) -> None:
    mount = bind("/m", readonly=False, output=0)
    result = bench.run("echo x > /x; echo y > /m/y", mount, inputs=(source,), root={"output": -1})
    assert len(result) == 1
    assert bench.text(result[0], "y") == "y\n"


def test_the_working_directory_is_made_for_the_user(bench) -> None:
    meta = {"cwd": "/srv/app", "user": "ann"}
    result = bench.run('test "$(pwd)" = /srv/app; echo x > x', meta=meta)

    def owners(root):
        return [(root / name).stat().st_uid for name in ("srv", "srv/app", "srv/app/x")]

    assert bench.inside(result[0], owners) == [1000, 1000, 1000]


def test_a_relative_working_directory_is_below_the_root(bench) -> None:
    assert bench.output("pwd", meta={"cwd": "usr/src"}) == "/usr/src\n"


# -- tmpfs


def test_a_tmpfs_is_as_open_as_what_it_covers(bench) -> None:
    """Whoever the step runs as, /tmp as memory must be as good as /tmp."""
    mounts = (tmpfs("/tmp"), tmpfs("/root"), tmpfs("/new/place"), tmpfs("/dev/shm"))
    base = bench.snapshot(lambda root: (root / "root").chmod(0o700), bench.base)
    printed = bench.output("stat -c %a /tmp /root /new/place /dev/shm", *mounts, base=base)
    assert printed.split() == ["1777", "700", "1777", "1777"]
    bench.run("echo x > /tmp/x; echo x > /new/place/x", *mounts, meta={"user": "ann"})


def test_a_tmpfs_holds_what_its_size_says(bench) -> None:
    script = (
        "dd if=/dev/zero of=/t/a bs=4k count=16 2>/dev/null; fails 'dd if=/dev/zero of=/t/b bs=4k count=1'"
    )
    bench.run(script, tmpfs("/t", 65536))
    shm = "dd if=/dev/zero of=/dev/shm/a bs=4k count=4 2>/dev/null; fails 'dd if=/dev/zero of=/dev/shm/b bs=4k count=1'"
    bench.run(shm, tmpfs("/dev/shm", 16384))


# -- secrets


def test_a_secret_is_a_file_with_owner_and_mode(bench) -> None:
    session = LocalSession(id="t", secrets={"s": lambda: b"value\0\xff"})
    script = "stat -c '%u:%g %a' /run/k; wc -c < /run/k; fails 'echo x > /run/k'; fails 'chmod 777 /run/k'"
    printed = bench.output(script, secret("/run/k", uid=1000, gid=50, mode=0o4640), session=session)
    assert printed.split() == ["1000:50", "640", "7"]


def test_a_secret_can_be_read_by_its_owner_only(bench) -> None:
    session = LocalSession(id="t", secrets={"s": lambda: b"value"})
    mine, theirs = secret("/run/mine", uid=1000), secret("/run/theirs", uid=1001)
    bench.run(
        "cat /run/mine; fails 'cat /run/theirs'", mine, theirs, session=session, meta={"user": "1000:1000"}
    )


def test_a_missing_secret_fails_only_if_it_is_needed(bench) -> None:
    bench.run("fails 'test -e /run/k'; test \"${S-unset}\" = ''", secret("/run/k", optional=True),
              secret_env=(ops.SecretEnv(id="s", name="S", optional=True),))  # fmt: skip
    for arguments in ({"secret_env": (ops.SecretEnv(id="s", name="S"),)}, {}):
        mounts = () if arguments else (secret("/run/k"),)
        with pytest.raises(WorkerError, match="secret s not found") as caught:
            bench.run("true", *mounts, **arguments)
        assert "--secret id=s" in caught.value.help


@pytest.mark.parametrize(
    "failure", [KeyError("VARIABLE"), FileNotFoundError(2, "gone"), PermissionError(13, "no")]
)
def test_a_secret_that_cannot_be_read_says_so(bench, failure) -> None:
    def read() -> bytes:
        raise failure

    with pytest.raises(WorkerError, match="the secret s cannot be read"):
        bench.run("true", secret("/k"), session=LocalSession(id="t", secrets={"s": read}))


def test_a_secret_has_a_limit(bench) -> None:
    session = LocalSession(id="t", secrets={"s": lambda: b"x" * (500 << 10)})
    assert bench.output("wc -c < /k", secret("/k"), session=session) == f"{500 << 10}\n"
    session = LocalSession(id="t", secrets={"s": lambda: b"x" * ((500 << 10) + 1)})
    with pytest.raises(WorkerError, match="the limit is 512000"):
        bench.run("true", secret("/k"), session=session)


@pytest.mark.parametrize("value", [b"caf\xe9", b"a\0b"])
def test_a_secret_that_is_not_text_is_no_variable(bench, value) -> None:
    """One runtime would end the value at the NUL, and both would change bytes that are not UTF-8."""
    session = LocalSession(id="t", secrets={"s": lambda: value})
    with pytest.raises(WorkerError, match="secret s cannot be used as an environment variable") as caught:
        bench.run("true", session=session, secret_env=(ops.SecretEnv(id="s", name="S"),))
    assert "file" in caught.value.help
    assert value.decode("latin-1") not in str(caught.value)


def test_secrets_leave_nothing_in_results_and_state(bench) -> None:
    value = b"0f7dc0ffee-hidden"
    session = LocalSession(id="t", secrets={"s": lambda: value})
    result = bench.run(
        'test "$(cat /k)" = "$S"; test "$(cat /d/x/k)" = "$S"', secret("/k"), secret("/d/x/k"),
        session=session, secret_env=(ops.SecretEnv(id="s", name="S"),),
    )  # fmt: skip
    assert not {name for name in bench.top(result[0]) if name.startswith(("k", "d/", "run"))}
    for folder, _, files in os.walk(bench.state.root):
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    assert value not in file.read(), path
