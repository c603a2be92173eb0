"""A process that never stops putting links in the place of directories, and the directories back."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
import warnings
from pathlib import Path
from types import TracebackType

_EXCHANGE = 2
_HERE = -100
_libc = ctypes.CDLL(None, use_errno=True)


class Swapping:
    """A context in which each of `paths` is a link to `outside` for moments, one atomic step apart.

    While it is a link, the directory stands in `aside`, on the same file system. Most of the time most of them are
    directories: who finds a link at once does not go on to where it would matter.
    """

    def __init__(self, paths: list[Path], outside: Path, aside: Path) -> None:
        self._pairs = [(os.fsencode(path), os.fsencode(aside / str(number))) for number, path in enumerate(paths)]
        self._outside = outside
        aside.mkdir()
        for _, spare in self._pairs:
            os.symlink(outside, spare)

    def __enter__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # fork beside threads; the child makes system calls only
            self._child = os.fork()
        if self._child == 0:
            try:
                while True:
                    for path, spare in self._pairs:
                        if not os.path.lexists(spare):
                            os.symlink(self._outside, spare)  # somebody removed it while it stood in the workspace
                        for _ in range(2):
                            _libc.renameat2(_HERE, path, _HERE, spare, _EXCHANGE)
                            time.sleep(random.random() * 0.0005)
            finally:
                os._exit(1)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        for path, spare in self._pairs:
            if os.path.islink(path) and os.path.isdir(spare):
                _libc.renameat2(_HERE, path, _HERE, spare, _EXCHANGE)
