"""`python -m agent`, and the console script `agent`."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

_YOUNG = 1_000_000
"""Objects made before garbage is looked for: modules and rows of a tree are none, and looking through them is slow."""


def main() -> NoReturn:
    """Run the command line with this process's arguments, and end the process with its exit code."""
    gc.set_threshold(_YOUNG, 20, 20)
    from agent.cli.main import run  # half of what an import costs is looking for garbage

    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, nobody reads it, it is closed
            stream.flush()
    # All is written and closed. The interpreter's own end takes every module and row apart first.
    os._exit(code)


if __name__ == "__main__":
    main()
