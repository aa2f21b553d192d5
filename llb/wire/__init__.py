# SPDX-License-Identifier: Apache-2.0
"""BuildKit's wire format. Only this package touches protobuf. Encoder and decoder are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llbkit.llb.wire.decoding import decode, decode_op
    from llbkit.llb.wire.encoding import encode, encode_op

__all__ = ["decode", "decode_op", "encode", "encode_op"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(
        "llbkit.llb.wire.encoding" if name.startswith("encode") else "llbkit.llb.wire.decoding"
    )
    value: object = getattr(module, name)
    return value
