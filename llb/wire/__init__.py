# SPDX-License-Identifier: Apache-2.0
"""BuildKit's wire format. Protobuf is seen in this package only."""

from llb.wire.decode import decode, decode_op
from llb.wire.encode import encode, encode_op

__all__ = ["decode", "decode_op", "encode", "encode_op"]
