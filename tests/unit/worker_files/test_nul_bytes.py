# SPDX-License-Identifier: Apache-2.0
"""A NUL byte in any text of an op is an error with a name, in contents it is not."""

from __future__ import annotations

import pytest

from llbkit.llb.ir import ops
from llbkit.worker.base import WorkerError
from llbkit.worker.ops.exec.nul_bytes import refuse_nul


def file_op(action: ops.MkDir | ops.MkFile | ops.Copy) -> ops.File:
    return ops.File(actions=(ops.FileAction(action=action, input=-1, secondary_input=-1, output=0),))


@pytest.mark.parametrize(
    "op",
    [
        ops.Exec(meta=ops.Meta(args=("a", "b\0c")), mounts=()),
        ops.Exec(meta=ops.Meta(args=("a",), cwd="/\0"), mounts=()),
        ops.Exec(meta=ops.Meta(args=("a",)), mounts=(ops.Mount(dest="/\0"),)),
        ops.Source(identifier="git://a\0b"),
        ops.Source(identifier="git://a", attrs={"git.fullurl": "\0"}),
        file_op(ops.MkDir(path="/\0")),
        file_op(ops.Copy(src="/\0", dest="/")),
    ],
)
def test_a_text_with_a_nul_byte_is_refused_and_shown(op: ops.Op) -> None:
    with pytest.raises(WorkerError, match=r"x00.* holds a NUL byte") as caught:
        refuse_nul(op)
    assert caught.value.help


def test_contents_may_hold_nul_bytes() -> None:
    refuse_nul(file_op(ops.MkFile(path="/a", data=b"\0")))
