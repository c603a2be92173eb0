"""The guarantees of design, "Protocol", for every schedule of a few agents and for random ones of more.

A plain run searches some of the small scenes in full and tries a few random schedules of each.
`INSTEP_SOAK=seconds` (see `make soak`) searches each scene for so long; `INSTEP_SEED` is the first random seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agent.sync.commands.prune_target
import agent.sync.publish.head
import agent.sync.publish.publish_entry
import agent.sync.push_steps.publish_change
import tests.model.search
from agent.core.image.change_set import ChangeSet, unite
from agent.core.model.pod import Pod
from agent.core.spelling.digest import Digest
from agent.sync.commands.prune_target import _Aged
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.publish.checkpoint import Checkpoint
from agent.sync.publish.head import Moved, all_changes, put_head
from agent.sync.remote.target import Target
from agent.sync.upload.merged_image import merged_image
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.model.hand import Hand
from tests.model.laws import ViolationError
from tests.model.scene import Scene
from tests.model.scenes import LARGE, RANDOM, SMALL
from tests.model.search import Search

SCENES = {scene.name: scene for scene in (*SMALL, *LARGE, *RANDOM)}
EVERY = 600.0
"""Seconds that a small scene may take on a machine with much else to do; it takes one to ten."""
SOME = 35 if FULL else 3
"""Random schedules of one scene; with `INSTEP_SOAK`, as many as there is time for."""
FIRST_SEED = 1_000
"""The first random seed, so that a run tries the same schedules each time; `make soak` tries others."""
LUCKY = 45_000
"""A seed that soon finds what is broken."""
TWICE = "a laptop pushes twice, what it put first lands late, and a pull that names it is shown no new tags"
REPLACED = "a pod is lost, and another made under its name whose clock says that it came before"
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1.2 * EVERY + 4 * SOAK)]

UNSEEN = (
    "a pull that names a lane whose pointer is not seen at once, with an older head and no new tags",
    "b b b b b b!twice " + "b " * 8 + "a a a!unseen " + "a " * 12 + "late-0 z z z z z!stale z!stale",
)
"""What a pull that does not wait for pointers lacks if the push did not wait for its own either."""
FOUND = [
    # A late duplicate moved back the one pointer of a lane without attempts.
    (
        "laptops that push again and again",
        "a a a b b b b b b b b!twice a a!twice a b b b b b b b a a b b b b b b b a a a b b " + "a " * 17 + "z!dies "
        "a b late-0 late-1",
    ),
    # A repair put what it had merged from an older look, and did not look again.
    ("laptops that push again and again", "a a a b b b b b a a a z z b b b b b b b b b b a a a a a a a a a z"),
    # A first attempt pulled what a later one had pushed: a chain of changes, one of which is superseded.
    ("a task is tried again while its pods still run", "t " * 16 + "s " * 7 + "p!dies-after t t t t t r!dies-after t"),
    # A later attempt was killed after it had published, and one between the two ended well.
    ("a task is tried again while its pods still run", "s s s s s s s!dies-after"),
    # A checkpoint was pruned by another, who held more, before it was read again.
    ("two push and prune, while an older head is on its way", "p " * 13 + "q " * 26),
    # An entry was pruned while its pusher, who had died, came back and looked at it.
    ("a pusher dies and comes back beside a pruner", "a " * 9 + "p p p p p a!dies-after a a p p p p"),
    # The first attempt's entry was pruned, its pointer with it, and nobody looked for the second's. With an older head.
    (
        "a pruner to whom one attempt is old and a later one is not",
        "a0 a0 a1 a0 a0 a0 a0!twice a1 a1 a1 a1 a1 a1 a1 a0 late-0",
    ),
    # The same, where the second looked at the first's pointer before that went.
    (
        "a pruner to whom one attempt is old and a later one is not",
        "a0 p a0 a0 a0 a0 p a0!twice a0 p p p p p p a0 a1 a1 a1 a1 a1 a1 a1 a1 a1 late-0",
    ),
    # A squash's layer, or what lay below a pushed one, was collected before a manifest named it.
    ("a pusher and one who squashes and prunes, and garbage is collected", "a a a a a p p collect"),
    (
        "a pusher and one who squashes and prunes, and garbage is collected",
        "collect " + "a " * 10 + "p " * 21 + "collect",
    ),
    # What a pull had seen was pruned and collected before it fetched it.
    (
        "laptops that push again and again, and others clean up",
        "a b a a a q a z z z z z b b q q q q p q a!dies-after p p p p p p p p p p p collect",
    ),
    # An entry was pruned, and the list did not show the checkpoint yet that another had published a moment ago.
    (
        "a pruner with a grace time where lists lag",
        "p p p p p!twice p p p a a a a a a a a late-0 " + "p " * 14 + "z z z!stale z z z z!stale z z z z!stale",
    ),
    UNSEEN,
]
"""Schedules that once broke a guarantee, or were thought to."""


def scenes(*of: list[Scene]) -> Any:
    return pytest.mark.parametrize("scene", [scene for each in of for scene in each], ids=lambda scene: scene.name)


@pytest.mark.sweep(5)
@scenes(SMALL)
def test_every_schedule_keeps_the_guarantees(place: Path, scene: Scene) -> None:
    result = Search(place, scene).explore(EVERY)
    assert result.complete
    assert result.runs > 10


@scenes(LARGE, RANDOM, [] if FULL else SMALL)
def test_random_schedules_keep_the_guarantees(place: Path, scene: Scene) -> None:
    seed = SEED if SOAK else FIRST_SEED
    result = Search(place, scene).sample(seed, SOAK or EVERY, None if SOAK else SOME)
    print(f"{scene.name}: {result.runs} schedules from seed {seed}")
    assert result.runs


@pytest.mark.skipif(not SOAK, reason="takes minutes; INSTEP_SOAK=seconds")
@scenes(LARGE)
def test_every_schedule_of_larger_scenes_keeps_the_guarantees(place: Path, scene: Scene) -> None:
    result = Search(place, scene).explore(SOAK)
    print(f"{scene.name}: {result.runs} schedules, {result.states} states, to the end: {result.complete}")


@pytest.mark.parametrize(("name", "schedule"), FOUND)
def test_a_schedule_that_broke_a_guarantee_does_so_no_longer(place: Path, name: str, schedule: str) -> None:
    Search(place, SCENES[name]).replay(schedule.split())


def test_a_push_beside_nobody_needs_few_requests(place: Path) -> None:
    run = Search(place, SCENES["two pushers"]).replay(["a"] * 100 + ["b"] * 100)
    alone, after = (push.requests for name in ("a", "b") for push in run.hands[name].pushed)
    # Layer 2, entry 1 + 1, config 2, pointer 1, head and list 2, head 1, head and list 2.
    assert alone == 12
    # Three for the fix-up, three for the config, one for the table of contents of what the other pushed.
    assert after <= 19


# Would the search notice? What follows breaks the code and looks whether it does.


def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.sync.publish.head, "LOOKS", 1)
    monkeypatch.setattr(agent.sync.publish.head._Company, "rests", lambda self, others: False)
    monkeypatch.setattr(agent.sync.publish.head, "Moved", lambda complete, conflicts: Moved(True, conflicts))


def no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.sync.push_steps.publish_change, "publish_entry", lambda *of, **more: "sha256:" + "0" * 64)


def no_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.sync.publish.publish_entry, "_put_pointer", lambda *of, **more: None)


def no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (agent.sync.publish.publish_entry, agent.sync.publish.head, agent.sync.commands.prune_target):
        monkeypatch.setattr(module, "put_mark", lambda *of: None)


def no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the first pointer of a lane for all that it published."""
    monkeypatch.setattr(Target, "is_marked", lambda self: False)


def no_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hand, "_pod", lambda self, uid: None)


def pods_by_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe the node's clock, whatever the pod has seen."""
    monkeypatch.setattr(Pod, "after", lambda pod, stamp: pod)


def no_look_for_the_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.sync.push_steps.publish_change, "wait_until_shown", lambda *of: None)


def no_fix_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChangeSet, "is_chain", True)


def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "_once_more", lambda self, read: None)


def prune_by_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take for a checkpoint what head holds."""

    def head(site: Any, target: Target, *of: object) -> _Aged:
        located = target.head()
        assert located is not None
        return _Aged(Checkpoint("", located.image, located.digest, unite([located.image]).ids, 0), 0)

    monkeypatch.setattr(agent.sync.commands.prune_target, "_publish", head)


def prune_by_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not read the checkpoint again: delete what is seen once it is published."""
    real = agent.sync.commands.prune_target._publish

    def seen(site: Any, target: Target, *of: Any) -> _Aged:
        found = real(site, target, *of)
        return found._replace(checkpoint=replace(found.checkpoint, ids=all_changes(target.read_snapshot()).ids))

    monkeypatch.setattr(agent.sync.commands.prune_target, "_publish", seen)


def no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that a checkpoint is there, without a look."""

    def unseen(target: Target, whole: ChangeSet) -> Checkpoint:
        image, _ = merged_image(target, whole)
        return Checkpoint("", image, Digest(""), whole.ids, 0)

    monkeypatch.setattr(agent.sync.commands.prune_target, "publish_checkpoint", unseen)


def no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every checkpoint for an old one."""
    monkeypatch.setattr(agent.sync.commands.prune_target, "witnessed", lambda *of, **more: 0)


def age_before_the_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the clock before a checkpoint is put, not after it is there."""
    real = agent.sync.commands.prune_target._publish

    def publish(site: WorkspaceContext, *of: Any) -> Any:
        now = site.clock()
        return real(site._replace(clock=lambda: now), *of)

    monkeypatch.setattr(agent.sync.commands.prune_target, "_publish", publish)


def any_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete whatever checkpoint is not the only one."""
    monkeypatch.setattr(Checkpoint, "replaces", lambda one, other: one is not other)


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    ("law", "name", "harm"),
    [
        ("G2", "two pushers", no_second_look),
        ("G9", "two pushers", no_entry),
        ("G4", "two pushers", no_fix_up),
        ("G1", "two pushers and a duplicate of one PUT", no_pointer),
        ("G1", TWICE, no_mark),
        ("G1", TWICE, no_count),
        ("G1", "a pusher and a pruner", no_mark),
        ("G6", REPLACED, no_pods),
        ("exit", REPLACED, pods_by_clock),
        ("G1", "another tool's image, to start from, is not there for a moment", no_patience),
        ("G9", "a pusher and a pruner", prune_by_head),
        ("G9", "a pusher and a pruner", prune_by_list),
        ("G9", "a pusher and a pruner", no_checkpoint),
        ("G9", "two push and prune, while an older head is on its way", any_checkpoint),
    ],
)
def test_the_search_finds_what_is_broken(
    place: Path, monkeypatch: pytest.MonkeyPatch, law: str, name: str, harm: Callable[[pytest.MonkeyPatch], None]
) -> None:
    harm(monkeypatch)
    monkeypatch.setattr(tests.model.search, "SHORTENING", 1.0)
    with pytest.raises(AssertionError, match=rf"{law}: [\s\S]*schedule = '"):
        search = Search(place, SCENES[name])
        search.sample(LUCKY, EVERY) if SCENES[name] in LARGE else search.explore(EVERY)


def test_a_checkpoint_that_no_list_shows_yet_is_too_young(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = "p p p p!twice p p p p p p p p a a a a a late-0"
    no_age(monkeypatch)
    with pytest.raises(ViolationError, match="G1: a pull that names the lane"):
        Search(place, SCENES["a pruner with a grace time where lists lag"]).replay(schedule.split())


HANGS = (
    "a pruner that hangs, and one that comes later, where lists lag",
    "p p p p!twice " + "p " * 5 + "a " * 20 + "p q " + "p " * 30 + "q " * 40 + "late-0",
)
"""One reads its clock and hangs. Its checkpoint comes with another prune, when no list need show it yet."""


def test_a_checkpoint_of_one_who_hangs_is_too_young(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, schedule = HANGS
    Search(place, SCENES[name]).replay(schedule.split())
    age_before_the_put(monkeypatch)
    with pytest.raises(ViolationError, match="G1: a pull that names the lane"):
        Search(place, SCENES[name]).replay(schedule.split())


@pytest.mark.slow
def test_the_search_finds_a_repair_that_does_not_look_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(site: Any, target: Any, seen: Any) -> bool:
        whole = all_changes(seen)
        if not whole.ids - seen.head_ids:
            return False
        return put_head(site, target, seen, merged_image(target, whole)[0])

    monkeypatch.setattr(agent.sync.publish.head, "repair", once)
    with pytest.raises(AssertionError, match="G2"):
        Search(place, SCENES["two pushers and a repair"]).explore(EVERY)


def test_a_push_that_does_not_wait_for_its_pointer_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_look_for_the_pointer(monkeypatch)
    name, schedule = UNSEEN
    with pytest.raises(ViolationError, match="G1: a pull that named its lane lacks"):
        Search(place, SCENES[name]).replay(schedule.split())


def test_a_violation_is_made_short(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_second_look(monkeypatch)
    monkeypatch.setattr(tests.model.search, "SHORTENING", EVERY)
    search = Search(place, SCENES["two pushers"])
    with pytest.raises(AssertionError, match="G2") as found:
        search.explore(EVERY)
    schedule = str(found.value).partition("schedule = '")[2].rstrip("'").split()
    assert len(schedule) < 12
    with pytest.raises(ViolationError):
        search.replay(schedule)
