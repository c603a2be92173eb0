"""Running the command of `agent exec` as a child process: signals are forwarded, the exit code is returned."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from agent.cli.terminal import command_exit_codes
from agent.cli.terminal.failure import redact
from agent.cli.terminal.progress import warn

_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# The terminal sends these signals of its keys to the whole foreground process group, including the child.
_FROM_KEYS = (signal.SIGINT, signal.SIGQUIT)


def run_command(words: Sequence[str], directory: str) -> int:
    """Run a command in a directory and return its exit code, 128 + n if signal n ended it.

    Environment, standard input and output are this process's own. The exit code is 127 if the command does not
    exist, and 126 if it cannot be executed, as in a shell.
    """
    with _Forwarding() as forwarding:
        try:
            child = subprocess.Popen(list(words), cwd=directory)  # noqa: S603 (the user's own command)
        except FileNotFoundError:
            warn(f"{redact(words[0])}: command not found")
            return command_exit_codes.NOT_FOUND
        except OSError as error:
            warn(f"{redact(words[0])}: cannot be executed: {os.strerror(error.errno or 0)}")
            return command_exit_codes.NOT_EXECUTABLE
        forwarding.to(child)
        code = child.wait()
    return code if code >= 0 else command_exit_codes.SIGNALLED - code


class _Forwarding:
    """Forwards signals to a child process. Signals that arrive before its start are forwarded after it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._previous: dict[int, object] = {}

    def __enter__(self) -> _Forwarding:
        for signum in _FORWARDED:
            # An ignored signal stays ignored, also for the child (nohup).
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._previous[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    def to(self, child: subprocess.Popen[bytes]) -> None:
        """Forward signals to a child from now on."""
        self._child = child
        for signum in self._early:
            child.send_signal(signum)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if signum in _FROM_KEYS and _in_foreground():
            return
        if self._child is None:
            self._early.append(signum)
        else:
            self._child.send_signal(signum)  # harmless once it has ended


def _in_foreground() -> bool:
    """Return whether this process is in the foreground process group of its terminal."""
    with _terminal() as terminal:
        try:
            return terminal >= 0 and os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False


@contextmanager
def _terminal() -> Iterator[int]:
    try:
        descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
