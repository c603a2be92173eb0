"""`python -m agent`, and the console script `agent`."""

from __future__ import annotations

import gc
import sys

_YOUNG = 1_000_000
"""Objects made before garbage is looked for: modules and rows of a tree are none, and looking through them is slow."""


def main() -> int:
    """Run the command line with this process's arguments and return its exit code."""
    gc.set_threshold(_YOUNG, 20, 20)
    from agent.cli.main import run  # half of what an import costs is looking for garbage

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
