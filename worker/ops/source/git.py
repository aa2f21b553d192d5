# SPDX-License-Identifier: Apache-2.0
"""The source operation for git repositories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llbkit.llb.ir.ops import Source
from llbkit.solver.ports import CacheMap, ContentKey, Step
from llbkit.worker.base import SCRATCH, Snapshot, Snapshotter
from llbkit.worker.host.pools import Pools, Token
from llbkit.worker.ops.source.image import key_digest
from llbkit.worker.results import Filesystem
from llbkit.worker.session.base import Session
from llbkit.worker.sources.git import GitCommit, GitSource
from llbkit.worker.sources.giturl import parse


class GitOperation:
    """``git://``: the files of a commit, keyed by the commit and what of it is checked out.

    Args:
        op: the source.
        session: the build's session.
        source: resolves and checks out repositories.
        snapshotter: makes the snapshot.
        pools: runs blocking work.
    """

    def __init__(
        self, op: Source, session: Session, *, source: GitSource, snapshotter: Snapshotter, pools: Pools
    ) -> None:
        self._spec = parse(op.identifier, op.attrs)
        self._session = session
        self._source = source
        self._snapshotter = snapshotter
        self._pools = pools
        self._found: GitCommit | None = None

    @property
    def resources(self) -> Mapping[str, int]:
        """It uses the network."""
        return {"net": 1}

    async def cache_map(self, step: Step) -> CacheMap:
        """Return a key of the commit; one question to the remote, none for a commit id."""
        found = await self._resolve()
        spec = self._spec
        refs = (
            tuple(f"{name} {what}" for name, what in found.kept_refs(spec).items())
            if spec.keep_git_dir
            else ()
        )
        flags = (str(spec.keep_git_dir), str(spec.submodules), str(spec.commit_mtime))
        remote = (
            spec.redacted if spec.keep_git_dir or spec.submodules else ""
        )  # relative submodules, .git/config
        return CacheMap(
            digest=key_digest("git", found.commit, spec.subdir, remote, *flags, *refs),
            ingredients={
                "remote": spec.redacted,
                "ref": spec.ref,
                "commit": found.commit,
                "subdir": spec.subdir,
                "keep .git": spec.keep_git_dir,
                "submodules": spec.submodules,
                "commit times": spec.commit_mtime,
            },
        )

    async def content_key(self, index: int, value: Filesystem, step: Step) -> ContentKey | None:
        """Sources have no inputs."""
        return None

    async def execute(self, inputs: Sequence[Filesystem], step: Step) -> Sequence[Filesystem]:
        """Check out into a snapshot."""
        found = await self._resolve()

        def work(token: Token) -> Snapshot:
            with self._snapshotter.prepare(SCRATCH) as active:
                self._source.checkout(self._spec, found, active.path, token, session=self._session)
                return active.commit(step.name)

        return [await self._pools.run("net", work)]

    async def _resolve(self) -> GitCommit:
        if self._found is None:
            self._found = await self._pools.run(
                "net", lambda token: self._source.resolve(self._spec, token, session=self._session)
            )
        return self._found
