"""Run an iterator ahead of its consumer, in a thread of its own and only a few steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def read_ahead(steps: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Yield what `steps` yields, computed by a thread that is at most `depth` items ahead.

    What `steps` raises is raised here. Closing the iterator closes `steps` and ends the thread.
    """
    done: deque[tuple[T | None, BaseException | None, bool]] = deque()
    free, ready = threading.Semaphore(depth), threading.Semaphore(0)
    closing = threading.Event()

    def run() -> None:
        last: tuple[None, BaseException | None, bool] = (None, None, True)
        try:
            for item in steps:
                done.append((item, None, False))
                ready.release()
                free.acquire()
                if closing.is_set():
                    break
        except BaseException as error:
            last = (None, error, True)
        finally:
            steps.close()
            done.append(last)
            ready.release()

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            ready.acquire()
            item, error, ended = done.popleft()
            if error is not None:
                raise error
            if ended:
                return
            free.release()
            yield item  # type: ignore[misc]
    finally:
        closing.set()
        free.release()
        thread.join()
