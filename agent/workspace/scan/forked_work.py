"""Work that processes share: a few tasks, done by this process and by others forked from it.

The interpreter runs one thread at a time, and looking at the paths of a directory is nearly all the interpreter's work.
A forked process has what this one has, and gives back bytes. It may only read: whoever is killed, or meets an error,
leaves his task undone, and this process does it itself and meets that error.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import BinaryIO, Final, Generic, NoReturn, TypeVar

_PR_SET_PDEATHSIG: Final = 1
MOST: Final = 4
"""Processes that share the work, at most: what they wait for is the file system."""

_T = TypeVar("_T")
_NUMBER = struct.Struct("<I")
_RESULT = struct.Struct("<IQ")


def processors() -> int:
    """Return how many processes can share work, this one included."""
    # A forked process has this one's locks, but not the threads that would release them.
    return min(len(os.sched_getaffinity(0)), MOST) if threading.active_count() == 1 else 1


class Shared(Generic[_T]):
    """Tasks that are done from now on; leaving the context ends those who do them.

    Args:
        tasks: what to do. Nothing may depend on who does it, nor on the order.
        dump: turns a result into bytes, in another process.
        load: turns them back, here.
        directory: where results may lie until they are taken.
        processes: how many do them at most, this one included; fewer where there is no room for more.
    """

    def __init__(
        self,
        tasks: Sequence[Callable[[], _T]],
        dump: Callable[[_T], bytes],
        load: Callable[[bytes], _T],
        directory: str,
        processes: int,
    ) -> None:
        self._tasks = tasks
        self._dump = dump
        self._load = load
        self._others: list[_Other] = []
        self._queue = -1
        others = min(processes, len(tasks)) - 1
        with suppress(OSError):
            if others > 0:
                # Whoever is free reads the next number: a pipe gives each of them to one reader.
                self._queue, fill = os.pipe()
                os.write(fill, b"".join(map(_NUMBER.pack, range(len(tasks)))))
                os.close(fill)
            for _ in range(others):
                self._others.append(_Other(self._serve, directory))

    def __enter__(self) -> Shared[_T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the others. Closing again is no error."""
        for other in self._others:
            other.end()
        self._others.clear()
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def results(self) -> list[_T]:
        """Help with what is left, and return the results in the order of the tasks; raises what a task raises."""
        done: dict[int, _T] = {}
        while self._others and (number := self._next()) is not None:
            done[number] = self._tasks[number]()
        for other in self._others:
            done |= {number: self._load(data) for number, data in other.results()}
        return [done[number] if number in done else task() for number, task in enumerate(self._tasks)]

    def _next(self) -> int | None:
        with suppress(OSError):
            if data := os.read(self._queue, _NUMBER.size):
                return int(_NUMBER.unpack(data)[0])
        return None

    def _serve(self, put: Callable[[int, bytes], None]) -> None:
        while (number := self._next()) is not None:
            put(number, self._dump(self._tasks[number]()))


class _Other:
    """A process that was forked: writes results to a file, and says in a pipe which and how long."""

    def __init__(self, serve: Callable[[Callable[[int, bytes], None]], None], directory: str) -> None:
        import tempfile

        with ExitStack() as opened:
            self._file = opened.enter_context(tempfile.TemporaryFile(dir=directory))
            self._said, say = os.pipe()
            opened.callback(os.close, self._said)
            with os.fdopen(say, "wb", 0) as saying:
                # A signal that this process answers with an exception must not have its copy end as if it were it.
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                parent = os.getpid()
                try:
                    self._pid = os.fork()
                    if not self._pid:
                        self._serve(serve, saying, mask, parent)
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._opened = opened.pop_all()

    def _serve(
        self,
        serve: Callable[[Callable[[int, bytes], None]], None],
        saying: BinaryIO,
        mask: set[signal.Signals | int],
        parent: int,
    ) -> NoReturn:
        try:
            _end_with(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to all: the other ends this one
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

            def put(number: int, data: bytes) -> None:
                if os.getppid() != parent:
                    os._exit(0)
                self._file.write(data)
                self._file.flush()
                saying.write(_RESULT.pack(number, len(data)))

            serve(put)
        finally:
            os._exit(0)

    def results(self) -> list[tuple[int, bytes]]:
        """Wait for it, and return what it did."""
        found, at = [], 0
        with suppress(OSError):
            while said := os.read(self._said, _RESULT.size):
                number, length = _RESULT.unpack(said)
                data = os.pread(self._file.fileno(), length, at)
                if len(data) < length:
                    break
                found.append((number, data))
                at += length
        return found

    def end(self) -> None:
        """End it, at once."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._opened.close()


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent dies: it has the parent's locks, which others wait for."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
