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
    _open_closed_streams()
    gc.set_threshold(_YOUNG, 20, 20)
    from agent.cli.main import run  # half of what an import costs is looking for garbage

    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, nobody reads it, it is closed
            stream.flush()
    # All is written and closed. The interpreter's own end takes every module and row apart first.
    os._exit(code)


def _open_closed_streams() -> None:
    """Put something in place of standard streams that the caller closed (`>&-`).

    Else the next file that is opened gets their numbers, and what is printed ends up in it. Standard input is empty and
    standard error goes nowhere; writing to standard output fails, as it would for any other program.
    """
    for number, name, access in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.close(number)  # Python left it open if it could not use it
        opened = os.open(os.devnull, access)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


if __name__ == "__main__":
    main()
