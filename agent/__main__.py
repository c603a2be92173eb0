"""`python -m agent`, and the console script `agent`."""

from __future__ import annotations

import sys

from agent.cli.main import run


def main() -> int:
    """Run the command line with this process's arguments and return its exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
