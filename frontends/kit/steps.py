# SPDX-License-Identifier: Apache-2.0
"""Processes as the build's options want them: limits, hosts, proxies, network. A language adds what its step says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from llbkit.frontends.kit.options import Options
from llbkit.llb import tmpfs
from llbkit.llb.builder.mounts import AnyMount
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import ExecState, State
from llbkit.llb.ir.ops import CDIDevice, NetMode, SecurityMode


def configured(state: State, options: Options) -> State:
    """Return a state whose processes have the build's host name and network."""
    if options.hostname:
        state = state.hostname(options.hostname)
    return state.network(options.network)


def cache_id(options: Options, name: str) -> str:
    """Return the id of a cache mount: its name in the build's namespace, so that languages share caches."""
    return f"{options.cache_namespace}/{name}"


def run(
    before: State,
    args: Sequence[str],
    options: Options,
    *,
    mounts: Sequence[AnyMount] = (),
    network: NetMode | None = None,
    security: SecurityMode | None = None,
    devices: Sequence[CDIDevice] = (),
    **step: Unpack[StepOptions],
) -> ExecState:
    """Run a process with the build's limits; what the receiver of the graph does not know is left out."""
    if options.resources is not None and options.supports("exec.meta.linux.resources"):
        step["resources"] = options.resources
    if options.shm_size > 0 and options.supports("exec.mount.tmpfs.size"):
        mounts = [*mounts, tmpfs("/dev/shm", size=options.shm_size)]
    for host in options.extra_hosts:
        before = before.add_extra_host(host.host, host.ip)
    parent = options.cgroup_parent or None
    return before.run(
        args,
        mounts=mounts,
        network=network,
        security=security,
        ulimits=options.ulimits if options.supports("exec.meta.ulimit") else (),
        cgroup_parent=parent if options.supports("exec.meta.cgroup.parent") else None,
        proxy=options.proxy,
        devices=devices,
        **step,
    )
