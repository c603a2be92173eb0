"""How long tests that search may search: `make soak` sets it (see the Makefile)."""

from __future__ import annotations

import os
import random

SOAK = float(os.environ.get("INSTEP_SOAK", "0"))
"""Seconds for each search, `INSTEP_SOAK`; 0 in a plain run, which looks at some of what there is."""

SEED = int(os.environ.get("INSTEP_SEED", random.SystemRandom().randrange(10**6)))
"""The first random seed, `INSTEP_SEED`. Who uses it prints it."""
