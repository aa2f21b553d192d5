# SPDX-License-Identifier: Apache-2.0
"""Capabilities that an engine offers, where they affect what is built (BuildKit's ``solver/pb/caps.go``)."""

from __future__ import annotations

OFFERED = frozenset(
    {
        "exec.meta.cdi", "exec.meta.cgroup.parent", "exec.meta.linux.resources", "exec.meta.setsdefaultpath",
        "exec.meta.ulimit", "exec.mount.bind.readwrite-nooutput", "exec.mount.tmpfs.size", "mergeop", "diffop",
    }
)  # fmt: skip
"""What this engine, as a BuildKit of today, offers."""
