# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for ops, metadata and graphs: every field of every op is drawn."""

from __future__ import annotations

import string
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from llbkit.grammar import Source as Text
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, LinuxResources, Metadata, ProgressGroup, Vertex
from llbkit.llb.ir.sourcemap import Location, SourceInfo, SourceMap

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = st.text(string.ascii_letters, min_size=1, max_size=8)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)
ATTRS = st.dictionaries(TEXT, TEXT, max_size=4)
LINE = st.integers(0, 10_000)


def _made(kind: type[Any], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of an op class. Every field must be drawn, so that a new field cannot be forgotten here."""
    assert {item.name for item in fields(kind)} == set(given), kind
    return st.builds(kind, **given)


PLATFORMS = _made(ops.Platform, architecture=TEXT, os=TEXT, variant=TEXT, os_version=TEXT, os_features=TEXTS)
PROXIES = _made(
    ops.ProxyEnv, http_proxy=TEXT, https_proxy=TEXT, ftp_proxy=TEXT, no_proxy=TEXT, all_proxy=TEXT
)
METAS = _made(
    ops.Meta,
    args=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    env=TEXTS,
    cwd=TEXT,
    user=TEXT,
    proxy_env=st.none() | PROXIES,
    extra_hosts=st.lists(_made(ops.HostIP, host=TEXT, ip=TEXT), max_size=2).map(tuple),
    hostname=TEXT,
    ulimit=st.lists(_made(ops.Ulimit, name=TEXT, soft=INT64, hard=INT64), max_size=2).map(tuple),
    cgroup_parent=TEXT,
    remove_mount_stubs_recursive=st.booleans(),
    valid_exit_codes=st.lists(INT32, max_size=3).map(tuple),
)
FILES = {"uid": UINT32, "gid": UINT32, "mode": UINT32, "optional": st.booleans()}
SECRETS = _made(ops.SecretOpt, id=TEXT, **FILES)
SOCKETS = _made(ops.SSHOpt, id=TEXT, **FILES)
CACHES = _made(ops.CacheOpt, id=TEXT, sharing=st.sampled_from(ops.CacheSharing))
COUNT = 2
INPUT = st.integers(-1, COUNT - 1)


def _mounts(kind: ops.MountType, dest: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return _made(
        ops.Mount,
        dest=dest,
        input=INPUT,
        selector=TEXT,
        output=INT64,
        readonly=st.booleans(),
        mount_type=st.just(kind),
        tmpfs=st.none() | _made(ops.TmpfsOpt, size=INT64),
        cache=CACHES if kind is ops.MountType.CACHE else st.none(),
        secret=SECRETS if kind is ops.MountType.SECRET else st.none(),
        ssh=SOCKETS if kind is ops.MountType.SSH else st.none(),
        result_id=TEXT,
        content_cache=st.sampled_from(ops.ContentCache),
    )


EXECS = _made(
    ops.Exec,
    meta=METAS,
    mounts=st.tuples(
        _mounts(ops.MountType.BIND, st.just("/")),
        st.sampled_from(ops.MountType).flatmap(lambda kind: _mounts(kind, TEXT)),
    ),
    network=st.sampled_from(ops.NetMode),
    security=st.sampled_from(ops.SecurityMode),
    secret_env=st.lists(_made(ops.SecretEnv, id=TEXT, name=TEXT, optional=st.booleans()), max_size=2).map(
        tuple
    ),
    cdi_devices=st.lists(_made(ops.CDIDevice, name=TEXT, optional=st.booleans()), max_size=2).map(tuple),
)
SOURCES = _made(ops.Source, identifier=st.builds("{}://{}".format, WORD, TEXT), attrs=ATTRS)
USERS = st.none() | UINT32 | _made(ops.NamedUser, name=TEXT, input=INPUT)
OWNERS = st.none() | _made(ops.Chown, user=USERS, group=USERS)
ACTION_KINDS = (
    _made(
        ops.Copy,
        src=TEXT,
        dest=TEXT,
        owner=OWNERS,
        mode=INT32,
        follow_symlink=st.booleans(),
        dir_copy_contents=st.booleans(),
        attempt_unpack=st.booleans(),
        create_dest_path=st.booleans(),
        allow_wildcard=st.booleans(),
        allow_empty_wildcard=st.booleans(),
        timestamp=INT64,
        include_patterns=TEXTS,
        exclude_patterns=TEXTS,
        always_replace_existing_dest_paths=st.booleans(),
        mode_str=TEXT,
        required_paths=TEXTS,
    ),
    _made(ops.MkFile, path=TEXT, mode=INT32, data=st.binary(max_size=40), owner=OWNERS, timestamp=INT64),
    _made(ops.MkDir, path=TEXT, mode=INT32, make_parents=st.booleans(), owner=OWNERS, timestamp=INT64),
    _made(ops.Rm, path=TEXT, allow_not_found=st.booleans(), allow_wildcard=st.booleans()),
    _made(ops.Symlink, oldpath=TEXT, newpath=TEXT, owner=OWNERS, timestamp=INT64),
)


def _steps(actions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _made(ops.FileAction, action=actions, input=INPUT, secondary_input=INPUT, output=INT64)


STEPS = _steps(st.one_of(*ACTION_KINDS))
FILE_OPS_OF_ONE_KIND = tuple(_made(ops.File, actions=st.tuples(_steps(kind))) for kind in ACTION_KINDS)
FILE_OPS = _made(ops.File, actions=st.lists(STEPS, min_size=1, max_size=3).map(tuple))
REAL = st.integers(0, COUNT - 1)
MERGES = _made(ops.Merge, inputs=st.lists(REAL, max_size=3).map(tuple))
DIFFS = _made(ops.Diff, lower=INPUT, upper=INPUT)
BUILDS = _made(
    ops.Build,
    builder=INPUT,
    inputs=st.dictionaries(TEXT, INPUT, max_size=3),
    definition=st.just(None),
    attrs=ATTRS,
)
PASSES = _made(ops.Passthrough, id=TEXT, outputs=st.lists(REAL, max_size=3).map(tuple))
READERS = st.one_of(EXECS, FILE_OPS, MERGES, DIFFS, BUILDS, PASSES)
CONSTRAINTS = st.lists(TEXT, max_size=2).map(tuple)


METADATA = _made(
    Metadata,
    ignore_cache=st.booleans(),
    description=ATTRS,
    export_cache=st.none() | st.booleans(),
    caps=st.sets(WORD, max_size=4).map(lambda caps: tuple(sorted(caps))),
    progress_group=st.none() | _made(ProgressGroup, id=TEXT, name=TEXT, weak=st.booleans()),
    linux_resources=st.none()
    | _made(
        LinuxResources,
        memory=INT64,
        memory_swap=INT64,
        cpu_shares=st.integers(0, 2**64 - 1),
        cpu_period=st.integers(0, 2**64 - 1),
        cpu_quota=INT64,
        cpuset_cpus=TEXT,
        cpuset_mems=TEXT,
    ),
    unknown=st.sampled_from([b"", b"\xfa\x3e\x01x"]),  # field 1007
)


@st.composite
def locations(draw: st.DrawFn) -> Location:
    lines = tuple(draw(st.lists(st.tuples(LINE, LINE), max_size=3)))
    columns = tuple(draw(st.tuples(LINE, LINE)) for _ in lines)
    return Location(0, lines, columns if any(map(any, columns)) else ())


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Two sources, an op that reads both, texts, metadata."""
    below = [
        Vertex.make(draw(SOURCES), platform=draw(st.none() | PLATFORMS), constraints=draw(CONSTRAINTS))
        for _ in range(COUNT)
    ]
    edges = tuple(Edge(vertex, draw(st.integers(0, 3))) for vertex in below)
    top = Vertex.make(
        draw(READERS), edges, platform=draw(st.none() | PLATFORMS), constraints=draw(CONSTRAINTS)
    )
    vertices = tuple(dict.fromkeys([*below, top]))
    places = {
        vertex.digest: tuple(draw(st.lists(locations(), max_size=2)))
        for vertex in vertices
        if draw(st.booleans())
    }
    info = SourceInfo(source=Text.from_bytes(draw(TEXT), draw(st.binary(max_size=40)), draw(TEXT)))
    return Graph(
        vertices=vertices,
        head=Edge(top, draw(st.integers(0, 3))),
        metadata={vertex.digest: draw(METADATA) for vertex in vertices if draw(st.booleans())},
        source_map=SourceMap(infos=(info,), locations=MappingProxyType(places)),
        terminal=draw(METADATA),
    )
