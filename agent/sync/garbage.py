"""Python's cyclic garbage collector, kept from looking at what holds no cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the collector for a while.

    A pull or a push makes tuples by the hundred thousand, none of them in a cycle: the collector would look at all
    of them again and again, which was a tenth of the time of a full push. What is in a cycle waits for the end.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
