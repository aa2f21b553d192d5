# SPDX-License-Identifier: Apache-2.0
"""Errors of a definition name the op and the field."""

from __future__ import annotations

import hashlib
import re

import pytest

from llbkit.llb.errors import DefinitionError
from llbkit.llb.ir import ops
from llbkit.llb.ir.graph import Edge, Graph, Vertex
from llbkit.llb.wire import decode, encode
from llbkit.llb.wire import messages as pb
from llbkit.llb.wire.encoding import encode_op

BASE = Vertex.make(ops.Source(identifier="docker-image://docker.io/library/alpine:3.20"))


def _definition(*raws: bytes) -> bytes:
    definition = pb.Definition()
    getattr(definition, "def").extend(raws)
    return definition.SerializeToString()


def _ended(*raws: bytes) -> bytes:
    """A definition whose terminal op names the last of ``raws``."""
    digest = "sha256:" + hashlib.sha256(raws[-1]).hexdigest()
    return _definition(*raws, encode_op(None, [(digest, 0)], constraints=None))


def _process(**changes: object) -> pb.Op:
    mount = pb.Mount(dest="/", input=-1)
    return pb.Op(exec=pb.ExecOp(meta=pb.Meta(args=["true"]), mounts=[mount], **changes))  # type: ignore[arg-type]


def _mounted(mount: pb.Mount) -> pb.Op:
    message = _process()
    message.exec.mounts.append(mount)
    return message


def _unknown(number: int) -> bytes:
    """A varint field with the value 7, which no enum has; protobuf's own classes may refuse to hold it."""
    return bytes([number << 3, 7]) if number < 16 else bytes([number << 3 & 0x7F | 0x80, number >> 4, 7])


def _with(message: pb.Mount | pb.ExecOp | pb.CacheOpt, number: int) -> bytes:
    return bytes(message.SerializeToString()) + _unknown(number)


NETWORK = pb.ExecOp.FromString(_with(_process().exec, 3))
SECURITY = pb.ExecOp.FromString(_with(_process().exec, 4))
SHARING = pb.Mount(dest="/m", mountType=pb.CACHE, cacheOpt=pb.CacheOpt.FromString(_with(pb.CacheOpt(), 2)))
ENUMS = [
    (pb.Op(exec=NETWORK), "exec.network: unknown value 7, expected one of 0 (UNSET), 1 (HOST), 2 (NONE)"),
    (pb.Op(exec=SECURITY), "exec.security: unknown value 7, expected one of 0 (SANDBOX), 1 (INSECURE)"),
    (
        _mounted(pb.Mount.FromString(_with(pb.Mount(dest="/m"), 6))),
        "exec.mounts[1].mountType: unknown value 7, expected one of 0 (BIND), 1 (SECRET), 2 (SSH), 3 (CACHE), 4 (TMPFS)",
    ),
    (
        _mounted(SHARING),
        "exec.mounts[1].cacheOpt.sharing: unknown value 7, expected one of 0 (SHARED), 1 (PRIVATE), 2 (LOCKED)",
    ),
    (
        _mounted(pb.Mount.FromString(_with(pb.Mount(dest="/m"), 24))),
        "exec.mounts[1].contentCache: unknown value 7, expected one of 0 (DEFAULT), 1 (ON), 2 (OFF)",
    ),
]


@pytest.mark.parametrize(("message", "text"), ENUMS, ids=[text.split(":")[0] for _, text in ENUMS])
def test_an_unknown_enum_value_is_named_with_its_field(message: pb.Op, text: str) -> None:
    with pytest.raises(DefinitionError, match=r"^op sha256:[0-9a-f]{64}: " + re.escape(text) + "$"):
        decode(_ended(message.SerializeToString()))


def test_an_unknown_file_action_is_named_with_its_number() -> None:
    step = pb.FileAction(input=-1, secondaryInput=-1, mkdir=pb.FileActionMkDir(path="/a"))
    message = pb.Op(file=pb.FileOp(actions=[step, pb.FileAction(input=-1)]))
    with pytest.raises(DefinitionError, match=r"file\.actions\[1\]: unknown action"):
        decode(_ended(message.SerializeToString()))


def test_an_op_of_no_known_kind_is_refused() -> None:
    with pytest.raises(DefinitionError, match="unknown op"):
        decode(_ended(pb.Op(constraints=pb.WorkerConstraints()).SerializeToString()))


def test_a_diff_without_both_sides_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"missing diff\.lower"):
        decode(_ended(pb.Op(diff=pb.DiffOp(upper=pb.UpperDiffInput(input=-1))).SerializeToString()))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff", r"^not a pb\.Definition"),
        (_definition(b"\xff"), r"^op 0 of the definition is not a pb\.Op"),
        (_definition(BASE.raw), "the last op of the definition is not a terminal op"),
        (_ended(encode_op(None, [], constraints=None), BASE.raw)[:-1], r"^not a pb\.Definition"),
        (_definition(BASE.raw, encode_op(None, [("sha256:0", 0)], constraints=None)), "refers to sha256:0"),
        (
            _ended(encode_op(ops.Merge(inputs=(0,)), [("sha256:0", 0)])),
            r"inputs\[0\]\.digest: 'sha256:0' is not in the definition",
        ),
    ],
    ids=["no-definition", "no-op", "no-terminal", "cut", "no-head", "no-input"],
)
def test_a_broken_definition_is_explained(data: bytes, text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        decode(data)


def test_a_location_in_a_text_that_is_not_there_is_refused() -> None:
    definition = pb.Definition.FromString(encode(Graph(vertices=(BASE,), head=Edge(BASE))))
    definition.Source.locations[BASE.digest].locations.add(sourceIndex=3)
    with pytest.raises(DefinitionError, match=r"Source\.locations: sourceIndex 3 is not one of 0 infos"):
        decode(definition.SerializeToString())


def test_nothing_is_the_definition_of_scratch() -> None:
    graph = decode(b"")
    assert (graph.head, graph.vertices, encode(graph)) == (None, (), b"")


def test_fields_of_later_versions_keep_their_bytes() -> None:
    raw = BASE.raw + b"\xfa\x3e\x01x"  # field 1007
    data = _ended(raw)
    (vertex,) = decode(data)
    assert vertex.raw == raw
    assert encode(decode(data)) == data


def test_ops_in_any_order_get_their_inputs() -> None:
    top = Vertex.make(ops.Merge(inputs=(0, 0)), (Edge(BASE),))
    terminal = encode_op(None, [(top.digest, 0)], constraints=None)
    graph = decode(_definition(top.raw, BASE.raw, terminal))
    assert graph.head is not None
    assert [edge.vertex.digest for edge in graph.head.vertex.inputs] == [BASE.digest]
