# SPDX-License-Identifier: Apache-2.0
"""The snapshotter of a host: overlay where it works, else native."""

from __future__ import annotations

from llbkit.worker.base import EnvironmentLackError, Snapshotter
from llbkit.worker.snapshot.layers import LayerStore
from llbkit.worker.state.directory import StateDir

NAMES = ("overlay", "native")


def choose(state: StateDir, layers: LayerStore, wanted: str = "") -> Snapshotter:
    """Return the snapshotter that was asked for; "" is the fastest that works here, found by trying.

    Raises:
        EnvironmentLackError: there is none of that name, or it does not work here.
    """
    from llbkit.worker.snapshot.overlay import OverlaySnapshotter, why_not

    if wanted and wanted not in NAMES:
        raise EnvironmentLackError(
            f"unknown snapshotter {wanted!r}", help=f"use {' or '.join(NAMES)}, or omit it"
        )
    if wanted != "native":
        reason = why_not(state)
        if not reason:
            return OverlaySnapshotter(state, layers)
        if wanted:
            raise EnvironmentLackError(
                f"overlay snapshots do not work here: {reason}",
                help="run as root, with --root on ext4, xfs or btrfs, or use the snapshotter native",
            )
    from llbkit.worker.snapshot.native import NativeSnapshotter

    return NativeSnapshotter(state, layers)
