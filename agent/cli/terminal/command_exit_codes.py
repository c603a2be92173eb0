"""The exit codes that no error of `agent.errors` has (docs/reference/cli.md, "Exit codes")."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
BUG: Final = 1
USAGE: Final = 2

NOT_EXECUTABLE: Final = 126
"""The command of `agent exec` exists but cannot be executed, as in a shell."""

NOT_FOUND: Final = 127
"""The command of `agent exec` does not exist, as in a shell."""

SIGNALLED: Final = 128
"""Added to the number of the signal that ended a process: 130 SIGINT, 141 SIGPIPE, 143 SIGTERM."""
