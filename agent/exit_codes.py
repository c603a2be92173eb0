"""The meanings of a step's exit codes. `docs/how-to/when-a-step-fails.md` has the same table with causes and cures.

The codes of errors are attributes of their classes in `agent.errors`, those of the command line are in
`agent.cli.terminal.command_exit_codes`; a test compares all of them with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Meaning(NamedTuple):
    """The meaning of an exit code.

    Attributes:
        title: a few words.
        text: a clause that follows "exit code N: ", without a full stop.
    """

    title: str
    text: str


KILLED: Final = 137

MEANINGS: Final[Mapping[int, Meaning]] = {
    1: Meaning("a bug, or no agent", "Instep met an error that it does not expect, or the step's image has no agent"),
    2: Meaning(
        "invalid arguments",
        "the step's argument, or an image or a path that it names, is wrong, or the task's results are too long",
    ),
    10: Meaning(
        "conflict",
        "tasks that do not run after each other changed the same paths and on-conflict is fail, "
        "or the target holds an image that is no workspace",
    ),
    11: Meaning("diverged", "the volume is not as the pull step left it, or holds files that the pull would overwrite"),
    12: Meaning("empty target", "the target holds no workspace"),
    20: Meaning("no access", "the registry refuses the credentials of the run, or there are none"),
    21: Meaning("registry unavailable", "the registry cannot be reached, does not answer, or refuses what it is asked"),
    30: Meaning("damaged", "the registry gave bytes that are not what their digest promises, or has lost some"),
    31: Meaning("unsafe image", "a layer of the image would write outside of the workspace, or exceeds a limit"),
    40: Meaning("files", "a file or directory of the workspace cannot be read or written by the step's user"),
    126: Meaning("not executable", "the command that agent exec was to run cannot be executed"),
    127: Meaning("no command", "the command that agent exec was to run is not in the image"),
    130: Meaning("interrupted", "the step was interrupted with Ctrl-C or SIGINT"),
    KILLED: Meaning(
        "killed", "the step was killed from outside, most often because it took more memory than its limit"
    ),
    141: Meaning("broken pipe", "the reader of the step's output went away"),
    143: Meaning("stopped", "the step was ended by SIGTERM: its pod was deleted or evicted, or its node was drained"),
    255: Meaning("killed, in Tekton's code", "the step's process was killed, most often for want of memory"),
}
"""The meaning of every exit code of a step of ours, except 0."""

OUT_OF_TIME: Final = Meaning(
    "out of time", "the step did not end within its timeout, most often because the registry is slow or away"
)
UNKNOWN: Final = Meaning("any other code", "Instep has no such exit code, so that something else ended the step")


def meaning_of(code: int, reason: str = "") -> Meaning:
    """Return the meaning of an exit code.

    Args:
        reason: Tekton's or Kubernetes' reason for the end of a step, such as `OOMKilled`. It can be more exact.
    """
    if reason == "TimeoutExceeded":
        return OUT_OF_TIME
    if reason == "OOMKilled":
        return MEANINGS[KILLED]
    return MEANINGS.get(code, UNKNOWN)
