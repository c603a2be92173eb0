"""Tasks that are divided between this process and forked workers (docs/decisions/processes-only-look.md).

The interpreter runs one thread at a time, and a scan is mostly the interpreter's work. A worker starts with a copy of
this process's memory and returns bytes. It may only read. If a worker is killed or gets an error, its task stays
undone; this process then does the task itself and gets that error.
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
"""The most processes: more would only wait for the file system."""

_T = TypeVar("_T")
_NUMBER = struct.Struct("<I")
_RESULT = struct.Struct("<IQ")


def process_count() -> int:
    """Return the number of processes that can share tasks, this one included."""
    # A worker has a copy of this process's locks, but not the threads that would release them.
    return min(len(os.sched_getaffinity(0)), MOST) if threading.active_count() == 1 else 1


class ForkedTasks(Generic[_T]):
    """Tasks that workers begin at once; the end of the context kills the workers.

    Args:
        tasks: functions that may run in any process and in any order.
        dump: encodes a result, in a worker.
        load: decodes it, here.
        directory: for temporary files with results.
        processes: the most processes, this one included; fewer if the system refuses more.
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
        self._workers: list[_Worker] = []
        self._queue = -1
        count = min(processes, len(tasks)) - 1
        with suppress(OSError):
            if count > 0:
                # Each free process reads the next number: a pipe gives every number to one reader only.
                self._queue, fill = os.pipe()
                os.write(fill, b"".join(map(_NUMBER.pack, range(len(tasks)))))
                os.close(fill)
            for _ in range(count):
                self._workers.append(_Worker(self._serve, directory))

    def __enter__(self) -> ForkedTasks[_T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers. May be called twice."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def results(self) -> list[_T]:
        """Do the remaining tasks, and return all results in the order of the tasks; raises the error of a task."""
        done: dict[int, _T] = {}
        while self._workers and (number := self._next()) is not None:
            done[number] = self._tasks[number]()
        for worker in self._workers:
            done |= {number: self._load(data) for number, data in worker.results()}
        return [done[number] if number in done else task() for number, task in enumerate(self._tasks)]

    def _next(self) -> int | None:
        with suppress(OSError):
            if data := os.read(self._queue, _NUMBER.size):
                return int(_NUMBER.unpack(data)[0])
        return None

    def _serve(self, put: Callable[[int, bytes], None]) -> None:
        while (number := self._next()) is not None:
            put(number, self._dump(self._tasks[number]()))


class _Worker:
    """A forked process. It writes results to a file, and their task numbers and lengths to a pipe."""

    def __init__(self, serve: Callable[[Callable[[int, bytes], None]], None], directory: str) -> None:
        import tempfile

        with ExitStack() as opened:
            self._file = opened.enter_context(tempfile.TemporaryFile(dir=directory))
            self._results_fd, write_fd = os.pipe()
            opened.callback(os.close, self._results_fd)
            with os.fdopen(write_fd, "wb", 0) as pipe:
                # A signal handler that raises must not run in the worker: it would unwind the copy of this process's
                # stack.
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                parent = os.getpid()
                try:
                    self._pid = os.fork()
                    if not self._pid:
                        self._serve(serve, pipe, mask, parent)
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._opened = opened.pop_all()

    def _serve(
        self,
        serve: Callable[[Callable[[int, bytes], None]], None],
        pipe: BinaryIO,
        mask: set[signal.Signals | int],
        parent: int,
    ) -> NoReturn:
        try:
            _die_with(parent)
            # A terminal sends SIGINT to all processes; the parent kills the worker.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

            def put(number: int, data: bytes) -> None:
                if os.getppid() != parent:
                    os._exit(0)
                self._file.write(data)
                self._file.flush()
                pipe.write(_RESULT.pack(number, len(data)))

            serve(put)
        finally:
            os._exit(0)

    def results(self) -> list[tuple[int, bytes]]:
        """Wait for the worker, and return its results by task number."""
        found, at = [], 0
        with suppress(OSError):
            while header := os.read(self._results_fd, _RESULT.size):
                number, length = _RESULT.unpack(header)
                data = os.pread(self._file.fileno(), length, at)
                if len(data) < length:
                    break
                found.append((number, data))
                at += length
        return found

    def kill(self) -> None:
        """Kill the worker."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._opened.close()


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies: it holds the parent's locks, for which others wait."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
