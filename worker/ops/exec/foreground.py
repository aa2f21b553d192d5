# SPDX-License-Identifier: Apache-2.0
"""Run a process in an image, attached to the caller's streams; its changes are discarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Metadata
from llbkit.records import dataclass
from llbkit.worker.base import Snapshot
from llbkit.worker.host.pools import Token
from llbkit.worker.ops.exec.op import ExecParts
from llbkit.worker.ops.exec.run import ExecRun
from llbkit.worker.runtime.process import Attached, Exit
from llbkit.worker.runtime.spec import MountSpec
from llbkit.worker.session.base import Session


class _Unreported:
    """A `llbkit.solver.ports.Step` that discards its reports."""

    name = ""

    def log(self, stream: int, data: bytes) -> None:
        """Ignore output: the process is attached."""

    def status(self, id: str, name: str, current: int, total: int, *, done: bool = False) -> None:  # noqa: A002
        """Ignore progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """What to run on a snapshot: the process, host directories to mount, the streams."""

    meta: ops.Meta
    attached: Attached
    binds: Sequence[MountSpec] = ()
    tmpfs: Sequence[str] = ()
    network: ops.NetMode = ops.NetMode.UNSET
    privileged: bool = False
    readonly: bool = False

    def run(self, snapshot: Snapshot, session: Session, parts: ExecParts, cancel: Token) -> Exit:
        """Run it to its end, on a thread of the pools.

        Raises:
            WorkerError: the image lacks the user, a mount has no place, or no runtime works here.
        """
        root = ops.Mount(input=0, dest="/", output=0, readonly=self.readonly)
        memory = [
            ops.Mount(input=-1, dest=path, output=-1, mount_type=ops.MountType.TMPFS) for path in self.tmpfs
        ]
        op = ops.Exec(
            meta=self.meta,
            mounts=(root, *memory),
            network=self.network,
            security=ops.SecurityMode.INSECURE if self.privileged else ops.SecurityMode.SANDBOX,
        )
        run = ExecRun(
            op=op,
            metadata=Metadata(),
            session=session,
            snapshotter=parts.snapshotter,
            ensure=parts.ensure,
            containers=parts.containers(),
            caches=parts.caches(),
            token=parts.token,
            step=_Unreported(),
        )
        with run.prepared([snapshot], cancel) as prepared:
            for spec in self.binds:
                prepared.stubs.add(spec.destination, directory=_is_directory(spec.source))
            sandbox = replace(
                prepared.sandbox,
                mounts=(*prepared.sandbox.mounts, *self.binds),
                terminal=self.attached.terminal,
            )
            return run.containers.run(
                sandbox, run.step.log, cancel, work=prepared.work, attached=self.attached
            )


def _is_directory(path: str) -> bool:
    import os

    return os.path.isdir(path)
