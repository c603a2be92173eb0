"""Exit codes that no error of `agent.errors` has. The whole table is in docs/reference/cli.md."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
BUG: Final = 1
USAGE: Final = 2

NOT_EXECUTABLE: Final = 126
"""As a shell says it: the command of `agent exec` is there but cannot be executed."""

NOT_FOUND: Final = 127
"""As a shell says it: the command of `agent exec` is not there."""

SIGNALLED: Final = 128
"""Added to the number of the signal that ended something: 130 SIGINT, 141 SIGPIPE, 143 SIGTERM."""
