"""Pushes and pulls in a row, beside a reference model of the tree: no drift, no growth (G4, G8, G10).

`INSTEP_SOAK` set (see `make soak`) makes it 2,000 of each; `INSTEP_SEED` is the seed.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import random
import shutil
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.sync.commands.prune_target import PruneOptions, prune
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.soak.reference import Reference

ROUNDS, WARM = (2000, 200) if SOAK else (40, 20) if FULL else (20, 10)
"""Rounds, and after how many it is looked what this process holds, for the first time."""
ANEW = 20
"""Every so many rounds an empty directory is pulled into, too."""
PRUNED = 100
"""Every so many rounds what was pushed is pruned, as it is after a run."""
GROWTH = 48 << 20
"""Bytes that memory may grow by from then on. The records of all changes that there ever were go through it at each
push, which leaves gaps; and the reference is in it, whose sparse files are of up to 3 MiB."""
OBJECTS = 20_000
"""Objects that may be left over by then."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(60 + 20 * ROUNDS if SOAK else 120)]


@dataclass(frozen=True)
class Held:
    """What this process holds: the resident set in bytes, objects that live, open files."""

    memory: int
    objects: int
    descriptors: int

    @classmethod
    def now(cls) -> Held:
        """Look, after all that is kept to save work only was let go: what has been parsed, and freed memory."""
        for found in gc.get_objects():
            if isinstance(found, functools._lru_cache_wrapper) and (found.__module__ or "").startswith("agent."):
                found.cache_clear()
        gc.collect()
        with suppress(AttributeError):  # where the system's allocator has no such call
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks(), len(os.listdir("/proc/self/fd")))


@pytest.mark.parametrize("kind", ["layout", "registry"])
def test_rounds_drift_from_no_reference_and_hold_on_to_nothing(
    place: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    print(f"seed {SEED}")
    target = None
    if kind == "registry":
        target = f"{request.getfixturevalue('registry')}/soak/{uuid.uuid4().hex}:ws"
    workspaces = Workspaces(place, target)
    began, warm = time.monotonic(), None
    reference = Reference(workspaces.at("a"), random.Random(SEED))
    writer, reader = "a", "b"
    for number in range(1, ROUNDS + 1):
        play(workspaces, reference, writer, reader, f"seed {SEED}, round {number}")
        if number % ANEW == 0:
            check_anew(workspaces, reference)
        if number % PRUNED == 0:
            prune(workspaces.site("-"), PruneOptions(older_than=0))
        workspaces.close()
        if number == WARM:
            warm = Held.now()
        if number % (100 if SOAK else 10) == 0:
            said(kind, number, began)
        if reference.chance.random() < 0.5:
            writer, reader = reader, writer
        reference.move(workspaces.at(writer))
    said(kind, ROUNDS, began)
    held = Held.now()
    assert warm is not None
    assert held.descriptors <= warm.descriptors
    assert held.objects <= warm.objects + OBJECTS, f"{warm.objects} objects became {held.objects}"
    assert held.memory <= warm.memory + GROWTH, f"{warm.memory >> 10} KiB became {held.memory >> 10} KiB"


def play(workspaces: Workspaces, reference: Reference, writer: str, reader: str, which: str) -> None:
    """Edit, push and pull; both directories must be what the reference says."""
    reference.edit(reference.chance.choice([0, 1, 2, 5, 20]))
    rows = reference.rows()
    which = f"{which}: {writer} did {reference.log}"
    before = snapshot(workspaces.at(writer), owners=False, directory_mtimes=False)
    assert unlike(rows, before) == {}, f"{which}: the reference is wrong"
    workspaces.push(writer, compression=reference.chance.choice(["zstd", "zstd", "gzip", "none"]))
    for name in (writer, reader):
        if name == reader:
            workspaces.pull(name)
        after = snapshot(workspaces.at(name), owners=False, directory_mtimes=False)
        assert unlike(rows, after) == {}, f"{which}: {name} differs"
    assert workspaces.push(reader).id is None, which


def check_anew(workspaces: Workspaces, reference: Reference) -> None:
    report = workspaces.pull("c", verify_whole=reference.chance.random() < 0.5)
    rows = snapshot(workspaces.at("c"), owners=False, directory_mtimes=False)
    assert unlike(reference.rows(), rows) == {}
    assert report.conflicts == []
    shutil.rmtree(workspaces.at("c"))
    shutil.rmtree(workspaces.place / ".state-c")


def said(kind: str, number: int, began: float) -> None:
    held, seconds = Held.now(), time.monotonic() - began
    what = f"{held.memory / (1 << 20):.0f} MiB, {held.objects} objects, {held.descriptors} descriptors"
    print(f"{kind}: {number} rounds in {seconds:.0f} s, {what}", flush=True)
