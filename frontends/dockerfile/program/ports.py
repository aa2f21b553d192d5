# SPDX-License-Identifier: Apache-2.0
"""The ports of EXPOSE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.kit.values.ports import PortError


@contextmanager
def ports_checked() -> Iterator[None]:
    """Turn what is wrong with a port into an error of the Dockerfile."""
    try:
        yield
    except PortError as error:
        raise errors.port(str(error)) from None
