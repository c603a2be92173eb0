"""How much the long searches try: some in a plain run, more in a full one, and all there is time for in `make soak`."""

from __future__ import annotations

import os
import random

SOAK = float(os.environ.get("INSTEP_SOAK", "0"))
"""Seconds for each search, `INSTEP_SOAK`; 0 in other runs, which look at some of what there is."""

FULL = bool(SOAK or os.environ.get("INSTEP_FULL"))
"""Whether this is a full run, `INSTEP_FULL=1`, as in `.ci/run`. A plain run takes a share: the same one each time."""

SEED = int(os.environ.get("INSTEP_SEED", random.SystemRandom().randrange(10**6) if FULL else 1))
"""The first random seed, `INSTEP_SEED`; without it 1 in a plain run. A test that uses it prints it."""


def some(number: int) -> int:
    """Return how many of `number` random inputs to try: a third of them in a plain run."""
    return number if FULL else max(1, number // 3)
