"""The scenes that are searched: who works on one workspace at the same time, and what may go wrong meanwhile."""

from __future__ import annotations

from tests.model.hand import Files
from tests.model.lives import (
    begins,
    decisive,
    deletable,
    everything,
    loses_its_state,
    named,
    observed,
    prunes,
    prunes_at,
    pulls,
    pushes,
    pushes_again,
    pushes_and_prunes,
    tries,
    works,
)
from tests.model.scene import FIRST, Part, Scene
from tests.model.world import Faults

LAG = 3_000
"""How long a list lags where it lags by a known time, ns."""
GRACE = 4_000
"""How old a checkpoint must be before what it holds goes: longer than a list lags."""
MINE: Files = {"a": "a", "d/a": "a", "old": None}
YOURS: Files = {"b": "b", "d": None}
"""Beside MINE: a deleted directory into which another wrote, so that head needs a fix-up."""


SMALL = [
    Scene(
        "two pushers",
        {"a": Part([pushes()], MINE, 2_000), "b": Part([pushes()], YOURS, 2_001)},
        is_shared=decisive,
    ),
    Scene(
        "two pushers, one clock, no base",
        {"a": Part([pushes()], {"x": "a"}), "b": Part([pushes()], {"x": "b"})},
        base=None,
        is_shared=decisive,
    ),
    Scene(
        "two pushers, one dies",
        {"a": Part([pushes()], MINE, 2_001), "b": Part([pushes()], {"b": "b"}, 2_000)},
        Faults(dies=1, actors=("a",)),
        is_shared=decisive,
    ),
    Scene(
        "a push, and a pull that names its lane and is shown no new tags",
        {"a": Part([pushes()], MINE), "z": Part([pulls(after=("a",))])},
        Faults(stale=1),
        is_shared=named,
    ),
    Scene(
        "a push whose pointer is not seen at once, and a pull that names its lane and is shown no new tags",
        {"a": Part([pushes()], MINE), "z": Part([pulls(after=("a",))])},
        Faults(unseen=1, stale=1),
        is_shared=named,
    ),
    Scene(
        "a pusher whose answers are lost, and who tries again, beside a repair",
        {"a": Part([lambda hand: tries(hand, 3)], MINE), "z": Part([pulls(repair=True)])},
        Faults(lost=1),
        is_shared=observed,
    ),
    Scene(
        "an attempt, and a later one that was begun before it ended",
        {
            "a0": Part([pushes("task", 0)], {"x": "first", "old": None}, 2_001),
            "a1": Part([pushes("task", 1)], {"x": "second"}, 2_000),
        },
        is_shared=named,
    ),
    Scene(
        "two pods with one lane and attempt",
        {
            "p": Part([pushes("task", 0)], {"x": "first", "old": None}),
            "q": Part([pushes("task", 0)], {"x": "second"}),
        },
        is_shared=decisive,
    ),
    Scene(
        "a pod is lost, and another made under its name whose clock says that it came before",
        {"p": Part([works("task", 0, {"x": "first"}, "2"), works("task", 0, {"x": "second"}, "1")])},
        Faults(dies=1),
        is_shared=named,
    ),
    Scene(
        "head, or an entry, is not there for a moment",
        {"a": Part([pushes()], MINE), "z": Part([pulls(repair=True)])},
        Faults(absent=2),
        is_shared=observed,
    ),
    Scene(
        "another tool's image, to start from, is not there for a moment",
        {"a": Part([pushes()], MINE), "z": Part([pulls()])},
        Faults(absent=2),
        foreign=True,
        is_shared=observed,
    ),
    Scene(
        "a blob of a manifest is not found for a moment",
        {"a": Part([pushes()], MINE), "z": Part([pulls(repair=True)])},
        Faults(hidden=2),
        is_shared=observed,
    ),
    Scene(
        "a pusher and a pruner",
        {"a": Part([pushes()], MINE), "p": Part([prunes()])},
        listed=True,
        is_shared=deletable,
    ),
    Scene(
        "a pusher and a pruner, and garbage is collected",
        {"a": Part([pushes()], MINE), "p": Part([prunes()])},
        Faults(collects=1),
        listed=True,
        is_shared=deletable,
    ),
]
"""Searched to the end each time."""

LARGE = [
    Scene(
        "a pusher dies and comes back beside another",
        {"a": Part([pushes(), pushes()], MINE, 2_001), "b": Part([pushes()], {"b": "b"}, 2_000)},
        Faults(dies=1, actors=("a",)),
        is_shared=decisive,
    ),
    Scene(
        "two pushers and a duplicate of one PUT",
        {"a": Part([pushes()], MINE, 2_001), "b": Part([pushes()], {"b": "b"}, 2_000)},
        Faults(twice=1),
        is_shared=decisive,
    ),
    Scene(
        "a pull that names a lane whose pointer is not seen at once, with an older head and no new tags",
        {
            "a": Part([pushes()], MINE),
            "b": Part([pushes()], {"b": "b"}),
            "z": Part([pulls(after=("a",))]),
        },
        Faults(twice=1, unseen=1, stale=1),
        is_shared=named,
    ),
    Scene(
        "the list cannot be read",
        {"a": Part([pushes()], MINE), "b": Part([pushes()], {"b": "b"})},
        Faults(down=1),
        is_shared=decisive,
    ),
    Scene(
        "two pushers and a repair",
        {"a": Part([pushes()], MINE, 2_001), "b": Part([pushes()], {"b": "b"}), "z": Part([pulls(repair=True)])},
        is_shared=observed,
    ),
    Scene(
        "three pushers",
        {"a": Part([pushes()], MINE, 2_001), "b": Part([pushes()], YOURS), "c": Part([pushes()], {"d/c": "c"})},
        is_shared=decisive,
    ),
    Scene(
        "two directories under one lane, and a pull that names it",
        {
            "a": Part([pushes("me")], MINE, 2_001),
            "b": Part([pushes("me")], {"b": "b"}, 2_000),
            "z": Part([pulls(after=("me",))]),
        },
        Faults(twice=1),
        is_shared=named,
    ),
    Scene(
        "a laptop pushes twice, and a pull that names it is shown no new tags",
        {"a": Part([pushes_again("a", {"a": "more"})], MINE), "z": Part([pulls(after=("a",))])},
        Faults(stale=1),
        is_shared=named,
    ),
    Scene(
        "a laptop pushes twice, what it put first lands late, and a pull that names it is shown no new tags",
        {"a": Part([pushes_again("a", {"a": "more"})], MINE), "z": Part([pulls(after=("a",))])},
        Faults(twice=2, stale=1),
        is_shared=named,
    ),
    Scene(
        "a laptop dies, loses its state and goes on, and a pull that names it is shown no new tags",
        {
            "a": Part([pushes("a"), loses_its_state("a", {"a": "more"})], MINE),
            "z": Part([pulls(after=("a",))]),
        },
        Faults(dies=1, stale=1),
        is_shared=named,
    ),
    Scene(
        "a pod is lost, another is made under its name, and its task is named",
        {
            "p": Part([works("task", 0, {"x": "first"}, "1"), works("task", 0, {"y": "second"}, "2")]),
            "z": Part([works("next", 0, {"z": "z"}, "3", after=("task",))]),
        },
        Faults(dies=1, twice=1, actors=("p",)),
        is_shared=named,
    ),
    Scene(
        "a run's first pod still works when the one that replaces it pushes",
        {
            "p": Part([begins("task", 0, {"x": "first"}, "1")], clock=2_000),
            "q": Part([begins("task", 0, {"y": "second"}, "2")], clock=2_100),
            "z": Part([works("next", 0, {"z": "z"}, "3", after=("task",))]),
        },
        Faults(twice=1),
        base=None,
        is_shared=named,
    ),
    Scene(
        "two push and prune, while an older head is on its way",
        {"p": Part([pushes_and_prunes()], MINE), "q": Part([pushes_and_prunes()], YOURS)},
        Faults(twice=1),
        listed=True,
        is_shared=deletable,
    ),
    Scene(
        "a pruner beside a slow pusher and a pull that names a pruned lane",
        {
            "a": Part([pushes()], YOURS, 2_001),
            "p": Part([pushes_and_prunes()], MINE),
            "z": Part([pulls(after=("p",))]),
        },
        Faults(twice=1),
        listed=True,
        is_shared=everything,
    ),
    Scene(
        "a pruner beside a slow pusher and a repair",
        {
            "a": Part([pushes()], YOURS, 2_001),
            "p": Part([pushes_and_prunes()], MINE),
            "z": Part([pulls(repair=True)]),
        },
        Faults(twice=1),
        listed=True,
        is_shared=deletable,
    ),
    Scene(
        "a pruner with a grace time where lists lag",
        {
            "a": Part([pushes()], YOURS, 2_001),
            "p": Part([prunes_at(9_000, 20_000, older_than=GRACE, pushes=True)], MINE),
            "z": Part([pulls(after=("a",))]),
        },
        Faults(twice=1, stale=6),
        lag=LAG,
        is_shared=deletable,
    ),
    Scene(
        "a pruner that hangs, and one that comes later, where lists lag",
        {
            "a": Part([pushes()], YOURS, 2_001),
            "p": Part([prunes_at(9_000, older_than=GRACE, pushes=True)], MINE),
            "q": Part([prunes_at(20_000, older_than=GRACE)]),
        },
        Faults(twice=1),
        lag=LAG,
        is_shared=deletable,
    ),
    Scene(
        "a pruner dies and comes back beside a pusher",
        {"a": Part([pushes()], MINE), "p": Part([prunes(), prunes()])},
        Faults(dies=1, actors=("p",)),
        listed=True,
        is_shared=deletable,
    ),
    Scene(
        "a pusher dies and comes back beside a pruner",
        {"a": Part([pushes(), pushes()], MINE), "p": Part([prunes()])},
        Faults(dies=1, actors=("a",)),
        listed=True,
        is_shared=deletable,
    ),
    Scene(
        "a pruner to whom one attempt is old and a later one is not",
        {
            "a0": Part([pushes("task", 0)], {"x": "first", "old": None}, FIRST + 100),
            "a1": Part([pushes("task", 1)], {"x": "second"}),
            "p": Part([prunes_at(9_000, 20_000, older_than=GRACE)]),
        },
        Faults(twice=1),
        lag=LAG,
        is_shared=everything,
    ),
    Scene(
        "a pusher and one who squashes and prunes, and garbage is collected",
        {"a": Part([pushes()], MINE), "p": Part([prunes(squashes=True)])},
        Faults(collects=2),
        listed=True,
        is_shared=deletable,
    ),
]
"""Searched to the end where there is time for it, else at random."""


CREW: list[tuple[str, Files, int]] = [
    ("a", {"old": None}, 2_000),
    ("b", {"d": None}, 2_000),
    ("c", {"d/c": "c"}, 1_500),
    ("d", {"d/kept": "changed"}, 9_000),
    ("e", {"d": "now a file"}, 2_001),
]
"""Names, what each does besides, and clocks that differ."""

RANDOM = [
    Scene(
        "five pushers, some of whom die and come back",
        {name: Part([pushes(), pushes()], {name: name, "shared": name, **more}, clock) for name, more, clock in CREW},
        Faults(dies=2, twice=2, lost=1, absent=1),
        is_shared=decisive,
    ),
    Scene(
        "lanes one after the other, named, and shown stale lists",
        {
            "a": Part([works("a", 0, {"a": "a"}), works("a", 1, {"a": "again"})]),
            "b": Part([works("b", 0, {"b": "b", "old": None}), works("b", 1, {"b": "again"})]),
            "c": Part([works("c", None, {"c": "c", "a": None}, after=("a", "b"))]),
            "y": Part([pulls(after=("a", "c"))]),
            "z": Part([pulls(repair=True, after=("b",))]),
        },
        Faults(dies=1, twice=1, unseen=2, stale=4, lost=1),
        is_shared=named,
    ),
    Scene(
        "a task is tried again while its pods still run",
        {
            "p": Part([works("task", 0, {"x": "first", "old": None})]),
            "q": Part([works("task", 0, {"x": "second", "d/q": "q"})]),
            "r": Part([works("task", 1, {"x": "third"})]),
            "s": Part([works("task", 2, {"x": "fourth"}), works("task", 3, {"x": "fifth"})]),
            "t": Part([works("other", None, {"t": "t"}, after=("task",))]),
        },
        Faults(dies=2, twice=2, lost=1),
        is_shared=named,
    ),
    Scene(
        "pods are lost and made anew, while some of the lost still run",
        {
            "p": Part([works("task", 0, {"x": "first", "old": None}, "1")], clock=2_000),
            "q": Part([works("task", 0, {"x": "second"}, "2"), works("task", 0, {"q": "q"}, "3")], clock=2_100),
            "r": Part([works("task", 1, {"x": "third"}, "4"), works("task", 1, {"r": "r"}, "5")], clock=2_200),
            "t": Part([works("other", 0, {"t": "t"}, "6", after=("task",)), works("other", 0, {"t": "u"}, "7")]),
            "z": Part([pulls(after=("task", "other"))]),
        },
        Faults(dies=2, twice=2, lost=1, stale=2),
        is_shared=named,
    ),
    Scene(
        "laptops that push again and again, one of them from two directories, named, and shown stale lists",
        {
            "a": Part([pushes_again("me", {"a": "more", "d": None}, {"a": "most"})], MINE, 3_000),
            "b": Part([pushes_again("me", {"b": "more"}), loses_its_state("me", {"b": "again"})], YOURS, 2_000),
            "c": Part([pushes_again("you", {"c": "more"}, {"c": "most"}), loses_its_state("you", {"c": "new"})], {}),
            "y": Part([pulls(after=("me",))]),
            "z": Part([pulls(repair=True, after=("you",))]),
        },
        Faults(dies=2, twice=2, lost=1, stale=3),
        is_shared=named,
    ),
    Scene(
        "laptops that push again and again",
        {
            "a": Part([pushes_again("a", {"a": "more", "d": None})], MINE, 3_000),
            "b": Part([pushes_again("b", {"b": "more", "d/b": "b"})], YOURS, 2_000),
            "z": Part([pulls(repair=True)]),
        },
        Faults(dies=1, twice=2, absent=1, hidden=1, down=1),
        is_shared=observed,
    ),
    Scene(
        "laptops that push again and again, and others clean up",
        {
            "a": Part([pushes_again("a", {"a": "more", "d": None})], MINE, 3_000),
            "b": Part([pushes_again("b", {"b": "more", "d/b": "b"})], YOURS, 2_000),
            "p": Part([prunes(), prunes()], clock=9_000),
            "q": Part([prunes(squashes=True)], clock=9_000),
            "z": Part([pulls(repair=True, after=("a",))]),
        },
        Faults(dies=1, twice=2, absent=1, hidden=1, collects=1),
        listed=True,
        is_shared=everything,
    ),
    Scene(
        "laptops that push, pruners that come again and again, readers that are slow, where lists lag",
        {
            "a": Part([pushes()], MINE, 3_000),
            "b": Part([pushes()], YOURS, 2_000),
            "c": Part([pushes()], {"d/c": "c", "a": "c"}, 9_500),
            "p": Part([prunes_at(9_000, 20_000, 31_000, older_than=GRACE)]),
            "q": Part([prunes_at(12_000, 26_000, older_than=GRACE, squashes=True)]),
            "y": Part([pulls(after=("b",))]),
            "z": Part([pulls(repair=True, after=("a",))]),
        },
        Faults(twice=2, stale=8, collects=1),
        lag=LAG,
        is_shared=everything,
    ),
]
