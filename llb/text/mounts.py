# SPDX-License-Identifier: Apache-2.0
"""The mounts of an exec in the text form: their kind, what they show, the options of their kind, their output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.ir import ops
from llbkit.llb.text.fields import field_words, word
from llbkit.llb.text.inputs import Inputs
from llbkit.llb.text.parts import Statement


def output_of_none(kind: ops.MountType) -> int:
    """Return the output of mounts that have none: secrets and agents are written with 0 all the same."""
    return 0 if kind in (ops.MountType.SECRET, ops.MountType.SSH) else -1


def mount_words(mount: ops.Mount, place: Callable[[int], str]) -> list[str]:
    """Return the words of a mount's line behind ``mount``; ``place`` gives the word for an input."""
    kind = mount.mount_type
    option = kind.name.lower()
    words = [word(mount.dest)]
    if kind is not ops.MountType.BIND:
        words.append(option)
    if kind is ops.MountType.BIND or mount.input != -1:
        words += ["from", place(mount.input)]
    if kind is not ops.MountType.BIND and (given := getattr(mount, option)) is not None:
        words += field_words(given) or (["size=0"] if kind is ops.MountType.TMPFS else [])
    words += field_words(mount, without=option)
    if mount.output != output_of_none(kind):
        words.append(f"-> {mount.output}")
    return words


_OPTIONS: Mapping[ops.MountType, type] = {
    ops.MountType.CACHE: ops.CacheOpt,
    ops.MountType.SECRET: ops.SecretOpt,
    ops.MountType.SSH: ops.SSHOpt,
    ops.MountType.TMPFS: ops.TmpfsOpt,
}


def read_mount(statement: Statement, dest: Leaf, parts: Sequence[Any], inputs: Inputs) -> ops.Mount:
    """Return the mount at ``dest`` that the rest of its line describes.

    Raises:
        DiagnosticError: it is a bind mount of nothing, or an option does not fit its kind.
    """
    kind = ops.MountType.BIND
    place: int | None = None
    output: int | None = None
    for part in parts:
        match part:
            case Leaf("KIND", text):
                kind = ops.MountType[text.upper()]
            case Branch("from", (Leaf() as leaf,)):
                place = inputs.of(leaf)
            case Branch("output", (Leaf() as leaf,)):
                output = int(leaf.text)
    if kind is ops.MountType.BIND and place is None:
        raise statement.fault(
            dest, "llb-option", "bind mount without a source", "add from %NAME, or from scratch"
        )
    option = kind.name.lower()
    without = (option,)
    given: dict[str, Any]
    if kind is ops.MountType.BIND:
        (given,) = statement.options(parts, ops.Mount, without=without)
    else:
        own, given = statement.options(parts, _OPTIONS[kind], ops.Mount, without=without)
        if own:
            given[option] = statement.made(dest, _OPTIONS[kind], own)
    return ops.Mount(
        dest=statement.word(dest),
        input=-1 if place is None else place,
        output=output_of_none(kind) if output is None else output,
        mount_type=kind,
        **given,
    )
