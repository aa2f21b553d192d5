# SPDX-License-Identifier: Apache-2.0
"""Entry point of the ``llbkit`` command. Answers ``--version`` before anything else is imported."""

from __future__ import annotations

import gc
import sys

_YOUNG_OBJECTS = 100_000


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["version"]):
        from llbkit import __version__

        sys.stdout.write(f"llbkit {__version__}\n")
        return
    # Graphs and trees are large and hold few cycles: with Python's default, looking for these costs half of the time.
    gc.set_threshold(_YOUNG_OBJECTS, 50, 50)
    from llbkit.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
