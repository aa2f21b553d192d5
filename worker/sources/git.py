# SPDX-License-Identifier: Apache-2.0
"""Git repositories as sources, through the ``git`` program.

Each remote has one bare repository (`llbkit.worker.sources.repositories`), which holds what was ever fetched, shallowly. Nothing of the user's or system's git configuration takes part, nothing is ever asked, and
secrets reach git through its environment only.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from llbkit.records import dataclass
from llbkit.worker.base import CancelToken, EnvironmentLackError, SourceError
from llbkit.worker.fs.descent import remove_tree
from llbkit.worker.host.ssh import reachable
from llbkit.worker.registry.proxies import proxy_variables
from llbkit.worker.registry.urls import header_value
from llbkit.worker.session.base import Session
from llbkit.worker.sources.gitdir import clean, kept_refs
from llbkit.worker.sources.giterrors import git_failure
from llbkit.worker.sources.giturl import GitSpec, is_commit_id
from llbkit.worker.sources.repositories import Repositories

_UMASK = 0o022


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    """What a ref stands for: the commit, the full ref ("" for a bare commit), the tag object if it is annotated.

    ``branch`` is the full name of the branch if the ref is the remote's HEAD and the remote tells.
    """

    commit: str
    ref: str = ""
    tag: str = ""
    branch: str = ""

    def kept_refs(self, spec: GitSpec) -> Mapping[str, str]:
        """Return the refs of a ``.git`` directory that is kept, see `llbkit.worker.sources.gitdir.kept_refs`."""
        full = self.branch if self.ref == "HEAD" else self.ref
        return kept_refs(spec.ref, full, self.commit, self.tag)


class GitSource:
    """Resolves and checks out repositories. Blocking; thread-safe.

    Args:
        repositories: what was fetched before.
        scratch: a directory for what is needed for a while; on the filesystem that checkouts are written to.
        program: the git executable.
    """

    def __init__(self, repositories: Repositories, scratch: Path, program: str = "git") -> None:
        self._repositories = repositories
        self._scratch = scratch
        self._program = program

    def resolve(self, spec: GitSpec, cancel: CancelToken, *, session: Session) -> GitCommit:
        """Return the commit of a ref; asks the remote unless the ref is a commit, or a commit is to be fetched by its id.

        Raises:
            SourceError: the remote or ref does not exist, it is not the one that the checksum says, or no commit is named.
            EnvironmentLackError: git is not installed.
        """
        if spec.is_commit:
            found = GitCommit(commit=spec.ref)
        elif spec.fetch_by_commit:
            found = GitCommit(commit=_named_commit(spec))
        else:
            with self._environment(spec, session) as env:
                wanted = [spec.ref, f"{spec.ref}^{{}}"] if spec.ref else ["HEAD"]
                listing = self._git(["ls-remote", "--symref", "--", spec.remote, *wanted], env, cancel, spec)
            found = _select(spec, listing.decode())
        if not any(sha.startswith(spec.checksum) for sha in (found.commit, found.tag)):
            raise SourceError(
                f"{spec.redacted}: {spec.ref or 'HEAD'} is {found.commit}, not {spec.checksum}",
                help="the ref has moved; update the checksum or use the commit",
            )
        return found

    def commit_object(
        self, spec: GitSpec, found: GitCommit, cancel: CancelToken, *, session: Session
    ) -> bytes:
        """Return the raw commit object, fetched if need be.

        Raises:
            SourceError: it cannot be fetched.
        """
        with (
            self._repositories.hold(spec.remote, spec.redacted, cancel) as bare,
            self._environment(spec, session) as env,
        ):
            self._fetch(bare, spec, found, env, cancel)
            return self._git(["-C", str(bare), "cat-file", "commit", found.commit], env, cancel, spec)

    def checkout(
        self, spec: GitSpec, found: GitCommit, target: Path, cancel: CancelToken, *, session: Session
    ) -> None:
        """Write the files of a commit into the empty directory ``target``.

        Raises:
            SourceError: the commit or directory is not there.
        """
        with (
            self._repositories.hold(spec.remote, spec.redacted, cancel) as bare,
            self._environment(spec, session) as env,
        ):
            self._fetch(bare, spec, found, env, cancel)
            modules = spec.submodules and self._has(bare, f"{found.commit}:.gitmodules", env)
            if spec.keep_git_dir and found.tag:
                self._fetch_tag(bare, spec, found, env, cancel)
            if modules or spec.keep_git_dir:
                self._clone(bare, spec, found, target, env, cancel, modules=modules)
            else:
                self._export(bare, spec, found, target, env, cancel)
            if spec.commit_mtime:
                seconds = self._git(
                    ["-C", str(bare), "show", "-s", "--format=%ct", found.commit], env, cancel, spec
                )
                _set_times(target, int(seconds))

    def _fetch(
        self, bare: Path, spec: GitSpec, found: GitCommit, env: Mapping[str, str], cancel: CancelToken
    ) -> None:
        at = ["-C", str(bare)]
        if not (bare / "objects" / "info").exists():  # made last; git completes what a killed init left
            self._git([*at, "init", "--quiet", "--bare"], env, cancel, spec)
        if self._has(bare, f"{found.commit}^{{tree}}", env):
            return
        fetch = [*at, "fetch", "--quiet", "--no-tags", "--update-head-ok"]
        remote = ["--", spec.remote]
        ways = [[*fetch, "--depth=1", *remote, found.commit]]
        if found.ref:
            ways += [[*fetch, "--depth=1", *remote, found.ref], [*fetch, *remote, found.ref]]
        else:  # a server that does not serve single commits
            ways += [[*at, "fetch", "--quiet", "--tags", *remote, "+refs/heads/*:refs/heads/*"]]
        self._first_of(ways, env, cancel, spec)
        if not self._has(bare, f"{found.commit}^{{tree}}", env):
            raise SourceError(
                f"{spec.redacted} commit {found.commit} not found", help="check the commit id, or build again"
            )

    def _fetch_tag(
        self, bare: Path, spec: GitSpec, found: GitCommit, env: Mapping[str, str], cancel: CancelToken
    ) -> None:
        """Fetch an annotated tag itself."""
        if self._has(bare, found.tag, env):
            return
        fetch = ["-C", str(bare), "fetch", "--quiet", "--no-tags"]
        rest = ["--", spec.remote, found.ref]
        self._first_of([[*fetch, "--depth=1", *rest], [*fetch, *rest]], env, cancel, spec)
        if not self._has(bare, found.tag, env):
            raise SourceError(f"{spec.redacted}: the tag {spec.ref} has moved", help="build again")

    def _export(
        self,
        bare: Path,
        spec: GitSpec,
        found: GitCommit,
        target: Path,
        env: Mapping[str, str],
        cancel: CancelToken,
    ) -> None:
        tree = f"{found.commit}:{spec.subdir}" if spec.subdir else f"{found.commit}^{{tree}}"
        kind = self._kind(bare, tree, env)
        if kind != "tree":
            raise SourceError(
                f"{spec.redacted}: directory {spec.subdir!r} does not exist at {spec.ref or found.commit}",
                help="check the subdirectory after the colon",
            )
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            own = {**env, "GIT_INDEX_FILE": f"{scratch}/index", "GIT_DIR": str(bare)}
            at = ["-C", str(target), f"--work-tree={target}"]
            self._git([*at, "read-tree", tree], own, cancel, spec)
            self._git([*at, "checkout-index", "--all", "--force"], own, cancel, spec)

    def _clone(
        self,
        bare: Path,
        spec: GitSpec,
        found: GitCommit,
        target: Path,
        env: Mapping[str, str],
        cancel: CancelToken,
        *,
        modules: bool,
    ) -> None:
        with ExitStack() as stack:
            work = target
            if spec.subdir:
                work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._scratch)))
            at = ["-C", str(work)]
            self._git([*at, "init", "--quiet"], env, cancel, spec)
            fetch = [*at, "fetch", "--quiet", "--depth=1", "--no-tags", "--update-head-ok", f"file://{bare}"]
            refs = found.kept_refs(spec).items() if spec.keep_git_dir else ()
            self._git([*fetch, found.commit, *(f"{what}:{name}" for name, what in refs)], env, cancel, spec)
            self._git([*at, "remote", "add", "origin", spec.redacted], env, cancel, spec)
            self._git([*at, "checkout", "--quiet", "--detach", "--force", found.commit], env, cancel, spec)
            if modules:
                own = {**env, "GIT_ALLOW_PROTOCOL": _protocols(spec)}
                update = [*at, "submodule", "update", "--quiet", "--init", "--recursive"]
                self._first_of([[*update, "--depth=1"], update], own, cancel, spec)
            if not spec.keep_git_dir or spec.subdir:
                _strip(work)
            else:
                # An index read from the tree holds no times and inode numbers; git looks at the files when it must.
                self._git([*at, "read-tree", "HEAD"], env, cancel, spec)
                if modules:
                    each = [*at, "submodule", "--quiet", "foreach", "--recursive", "git read-tree HEAD"]
                    self._git(each, env, cancel, spec)
                clean(work / ".git")
            if spec.subdir:
                _move(work, spec.subdir, target, spec)

    def _has(self, bare: Path, name: str, env: Mapping[str, str]) -> bool:
        return self._kind(bare, name, env) != ""

    def _kind(self, bare: Path, name: str, env: Mapping[str, str]) -> str:
        done = subprocess.run(
            [self._program, "-C", str(bare), "cat-file", "-t", name],
            env=dict(env),
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def _git(self, args: Sequence[str], env: Mapping[str, str], cancel: CancelToken, spec: GitSpec) -> bytes:
        cancel.check()
        try:
            process = subprocess.Popen(
                [self._program, *args],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                umask=_UMASK,
            )
        except FileNotFoundError as error:
            raise EnvironmentLackError(
                "git is not installed", help="install it: apt-get install git"
            ) from error
        with process, cancel.on_cancel(lambda: _kill(process)):
            out, err = process.communicate()
        cancel.check()
        if process.returncode != 0:
            raise git_failure(spec, err.decode(errors="replace"))
        return out

    def _first_of(
        self, ways: Sequence[Sequence[str]], env: Mapping[str, str], cancel: CancelToken, spec: GitSpec
    ) -> None:
        """Run git in one way after the other until one succeeds; a plain HTTP server, say, knows no ``--depth``."""
        for way in ways[:-1]:
            try:
                self._git(way, env, cancel, spec)
                return
            except SourceError:
                continue
        self._git(ways[-1], env, cancel, spec)

    @contextmanager
    def _environment(self, spec: GitSpec, session: Session) -> Iterator[dict[str, str]]:
        """Make git's whole environment: no configuration but ours, no prompts, the session's secrets."""
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(dir=self._scratch, prefix="home-"))
            env = {
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOME": home,
                "LC_ALL": "C",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_ASKPASS": "/bin/false",
                "GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file",
            }
            env |= proxy_variables()
            options = {
                "init.defaultBranch": "main",
                "advice.detachedHead": "false",
                "core.autocrlf": "false",
                "core.hooksPath": "/dev/null",
                "gc.auto": "0",
                **_trusted(),
                **_authorization(spec, session),
            }
            env["GIT_CONFIG_COUNT"] = str(len(options))
            for number, (key, value) in enumerate(options.items()):
                env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
            env |= _ssh(spec, session, Path(home), stack)
            yield env


def _trusted() -> dict[str, str]:
    """Return where git finds certificates; built with GnuTLS, it does not look at OpenSSL's variables itself."""
    places = {"http.sslCAInfo": "SSL_CERT_FILE", "http.sslCAPath": "SSL_CERT_DIR"}
    return {key: os.environ[name] for key, name in places.items() if os.environ.get(name)}


def _authorization(spec: GitSpec, session: Session) -> dict[str, str]:
    match = re.match(r"(https?://)(?:[^/@]*@)?([^/]+/)", spec.remote)
    if match is None:
        return {}
    for name, is_token in ((spec.header_secret, False), (spec.token_secret, True)):
        value = session.secret(f"{name}.{spec.host}")
        if value is None:
            value = session.secret(name)
        if value is None:
            continue
        try:
            text = header_value(value.decode().strip())
        except ValueError as error:
            raise SourceError(
                f"{spec.redacted}: the secret {name} cannot be sent in a header: not a single line of Latin-1 text",
                help="provide the token or header value only",
            ) from error
        if is_token:
            text = "basic " + base64.b64encode(f"x-access-token:{text}".encode()).decode()
        place = f"http.{match[1]}{match[2]}"
        # git would send the header to whatever host it was redirected to.
        return {f"{place}.extraheader": f"Authorization: {text}", f"{place}.followRedirects": "false"}
    return {}


def _ssh(spec: GitSpec, session: Session, home: Path, stack: ExitStack) -> dict[str, str]:
    out: dict[str, str] = {}
    command = "ssh -F /dev/null -o BatchMode=yes"
    if spec.known_hosts:
        hosts = home / "known_hosts"
        hosts.write_text(spec.known_hosts if spec.known_hosts.endswith("\n") else spec.known_hosts + "\n")
        command += f" -o UserKnownHostsFile={hosts} -o StrictHostKeyChecking=yes"
    else:
        command += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    agent = session.agent(spec.ssh or "default")
    if agent is not None:
        out["SSH_AUTH_SOCK"] = str(stack.enter_context(reachable(agent, home)))
    elif spec.ssh and not spec.remote.startswith(("http", "file")):
        raise SourceError(
            f"{spec.redacted} requires the SSH agent {spec.ssh!r}",
            help=f"add --ssh {spec.ssh}",
        )
    return {**out, "GIT_SSH_COMMAND": command}


def _protocols(spec: GitSpec) -> str:
    return "http:https:ssh:git:file" if spec.remote.startswith("file://") else "http:https:ssh:git"


def _named_commit(spec: GitSpec) -> str:
    """Return the commit that a checksum names in full. Raises SourceError."""
    message = ""
    if not spec.checksum:
        message = "fetch-by-commit requires a checksum or a commit SHA ref"
    elif not is_commit_id(spec.checksum):
        message = f'fetch-by-commit requires a full commit SHA checksum, got "{spec.checksum}"'
    if message:
        raise SourceError(f"{spec.redacted}: {message}", help="use the full 40-digit commit id")
    return spec.checksum


def _select(spec: GitSpec, listing: str) -> GitCommit:
    refs = {name: sha for sha, _, name in (line.partition("\t") for line in listing.splitlines())}
    branch = next(
        (line.split()[1] for line in listing.splitlines() if re.fullmatch(r"ref: \S+\tHEAD", line)), ""
    )
    if not spec.ref:
        if "HEAD" in refs:
            return GitCommit(commit=refs["HEAD"], ref="HEAD", branch=branch)
    else:
        short = spec.ref.removeprefix("refs/")
        for name in (spec.ref, f"refs/{short}", f"refs/heads/{spec.ref}", f"refs/tags/{spec.ref}"):
            if name in refs and name.startswith("refs/"):
                peeled = refs.get(f"{name}^{{}}")
                return GitCommit(commit=peeled or refs[name], ref=name, tag=refs[name] if peeled else "")
    raise SourceError(
        f"{spec.redacted} has no branch or tag {spec.ref!r}" if spec.ref else f"{spec.redacted} is empty",
        help="list refs with git ls-remote; commit ids need all 40 digits",
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _strip(work: Path) -> None:
    """Remove .git directories and the .git files of submodules."""
    for folder, directories, files in os.walk(work):
        if ".git" in directories:
            remove_tree(os.path.join(folder, ".git"))
            directories.remove(".git")
        if ".git" in files:
            os.unlink(os.path.join(folder, ".git"))


def _move(work: Path, subdir: str, target: Path, spec: GitSpec) -> None:
    source = work
    for part in subdir.split("/"):
        source /= part
        if source.is_symlink() or not source.is_dir():
            raise SourceError(
                f"{spec.redacted}: directory {subdir!r} does not exist",
                help="check the subdirectory after the colon",
            )
    for entry in sorted(os.listdir(source)):
        shutil.move(source / entry, target / entry)


def _set_times(root: Path, seconds: int) -> None:
    for folder, directories, files in os.walk(root, topdown=False):
        for name in [*files, *directories]:
            os.utime(os.path.join(folder, name), (seconds, seconds), follow_symlinks=False)
    os.utime(root, (seconds, seconds))
