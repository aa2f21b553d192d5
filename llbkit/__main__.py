# SPDX-License-Identifier: Apache-2.0
"""Entry point of the ``llbkit`` command. Answers ``--version`` before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] in (["--version"], ["version"]):
        from llbkit import __version__

        sys.stdout.write(f"llbkit {__version__}\n")
        return
    from llbkit.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
