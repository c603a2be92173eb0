"""Squashes in the life of a workspace: layers stay few, nothing is lost, history stays whole (design, "Merge")."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from agent.cli.terminal.report_format import squash_summary
from agent.core.image.image import Image
from agent.core.spelling.reference import parse_reference
from agent.core.spelling.tags import checkpoint_tag
from agent.errors import TagRefusedError
from agent.sync.commands.read_target import cat, log
from agent.sync.commands.squash_command import SquashOptions, SquashReport, squash_target
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.target import Target
from tests.fakes.contents import noise, write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.soaking import FULL
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

MOST = 100


def head_of(there: Workspaces) -> Image:
    site = there.site("-")
    located = Target(site.open_store, site.target, this_platform(None)).head()
    assert located is not None
    return located.image


def squash(there: Workspaces, **options: object) -> SquashReport:
    return squash_target(there.site("-"), SquashOptions(**options))  # type: ignore[arg-type]


def scribble(top: bytes, rng: random.Random, number: int) -> None:
    """Write, delete, link, touch and move something."""
    for _ in range(3):
        place = top + b"/d%d/e%d/f%d" % (rng.randrange(4), rng.randrange(2), rng.randrange(20))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        kind = rng.randrange(10)
        if os.path.lexists(place) and kind < 4:
            os.unlink(place)
        elif kind == 4 and os.path.lexists(place):
            os.utime(place, ns=(0, rng.randrange(10**18)), follow_symlinks=False)
        elif kind == 5 and not os.path.lexists(place + b"-link"):
            open(place, "ab").close() if not os.path.lexists(place) else None
            os.link(place, place + b"-link", follow_symlinks=False)
        else:
            with open(place, "wb") as file:
                file.write(b"%d " % number * rng.randrange(1, 400))
    if rng.randrange(25) == 0:
        shutil.rmtree(top + b"/d%d" % rng.randrange(4), ignore_errors=True)


def same(there: Workspaces, one: str, other: str) -> None:
    # A directory's time is no part of the tree: what came and went between two pushes leaves no change.
    trees = [snapshot(there.at(name), directory_mtimes=False) for name in (one, other)]
    assert unlike(*trees) == {}


@pytest.mark.slow
def test_300_pushes_never_exceed_100_layers_and_lose_no_history(place: Path) -> None:
    there, rng, ids, most = Workspaces(place), random.Random(7), [], 0
    for number in range(300):
        scribble(there.at("a"), rng, number)
        report = there.push("a", message=f"push {number}")
        if report.id is not None:
            ids.append(report.id)
            most = max(most, len(head_of(there).layers))
    assert 20 < most <= MOST
    assert [
        entry.id
        for entry in log(there.open_store(parse_reference(there.target)), parse_reference(there.target)).changes
    ] == ids[::-1]
    began = time.perf_counter()
    there.pull("b")
    print(f"300 pushes: {len(head_of(there).layers)} layers, pulled in {time.perf_counter() - began:.2f} s")
    same(there, "a", "b")
    squash(there)
    assert len(head_of(there).layers) <= 2
    there.pull("c")
    same(there, "a", "c")
    there.close()


def test_a_run_of_many_tasks_one_after_the_other_is_squashed_as_it_goes(memory: MemoryWorkspaces) -> None:
    """Each names the one before it, which makes that one's attempt final."""
    before: tuple[str, ...] = ()
    for number in range(60):
        memory.pull("w", after=before, lane=f"run/{number}", attempt=0, create=True)
        write(memory.at("w"), b"%d" % number, b"task %d" % number)
        memory.push("w", lane=f"run/{number}", attempt=0)
        before = (f"run/{number}",)
    assert len(head_of(memory).layers) <= 24
    assert [change.lane for change in memory.log()] == [f"run/{number}" for number in reversed(range(60))]
    memory.pull("fresh")
    same(memory, "w", "fresh")


def test_pushes_to_a_registry_are_squashed_too(registry: str, tmp_path: Path) -> None:
    there, rng = Workspaces(tmp_path, f"{registry}/squash/{uuid.uuid4().hex}:ws"), random.Random(3)
    made = 0
    for number in range(70 if FULL else 35):
        scribble(there.at("a"), rng, number)
        made += there.push("a").id is not None
    image = head_of(there)
    assert len(image.layers) < made
    assert any(layer.kind == "squash" for layer in image.layers)
    there.pull("b")
    same(there, "a", "b")
    site = there.site("-")
    assert len(log(site.store, site.target).changes) == made
    there.close()


@pytest.fixture
def memory(tmp_path: Path) -> MemoryWorkspaces:
    return MemoryWorkspaces(tmp_path)


def fill(there: MemoryWorkspaces, name: str, count: int, lane: str | None = None) -> None:
    for number in range(count):
        write(there.at(name), b"%s/file-%d" % (name.encode(), number), b"%d" % number)
        there.push(name, lane=lane)


def test_a_squash_by_hand_leaves_one_layer_and_the_same_tree(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 5)
    os.unlink(memory.at("a") + b"/a/file-2")
    memory.push("a")
    report = squash(memory)
    assert (report.covered, report.layers_before, report.layers) == (6, 6, 1)
    assert report.checkpoint in memory.store.pointers
    (layer,) = head_of(memory).layers
    assert (layer.kind, layer.squash.id if layer.squash else None) == ("squash", report.id)
    memory.pull("b")
    same(memory, "a", "b")
    entries = memory.log()
    assert [entry.squash for entry in entries] == [report.id] * 6
    assert [entry.written for entry in entries] == [None] * 6
    assert squash(memory).id is None, "there is nothing left to squash"


def test_a_head_that_the_registry_does_not_move_is_not_said_to_have_moved(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    head = memory.store.pointers["main"]

    def refuse(name: str, subject: str) -> None:
        if (name, subject) == ("put_manifest", "main"):
            raise TagRefusedError("the tag is immutable", subject=subject, remedy="name another")

    memory.store.before = refuse
    report = squash(memory)
    assert (report.id is not None, report.head_moved, memory.store.pointers["main"]) == (True, False, head)
    assert "the image at the target's tag keeps its layers" in squash_summary(report, 1.0)
    report = squash(memory)
    assert (report.id, report.head_moved) == (None, False)
    memory.store.before = None
    report = squash(memory)
    assert (report.id, report.head_moved) == (None, True)
    assert len(head_of(memory).layers) == 1
    assert "shows that now" in squash_summary(report, 1.0)
    assert squash(memory).head_moved is False
    memory.pull("b")
    same(memory, "a", "b")


def test_a_head_that_another_puts_back_is_not_said_to_have_moved(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    head = memory.store.pointers["main"]

    def put_back(name: str, subject: str) -> None:
        if (name, subject) == ("get_manifest", "main"):
            memory.store.pointers["main"] = head

    memory.store.before = put_back
    assert squash(memory).head_moved is False
    memory.store.before = None
    assert squash(memory).head_moved is True


def test_a_directory_that_saw_no_squash_goes_on(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 4)
    memory.pull("b")
    squash(memory)
    write(memory.at("b"), b"new", b"new")
    memory.push("b")
    assert [layer.kind for layer in head_of(memory).layers] == ["squash", "change"]
    memory.pull("c")
    same(memory, "b", "c")
    memory.pull("a")
    same(memory, "a", "b")


def test_a_deletion_of_what_is_squashed_deletes_it(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    squash(memory)
    memory.pull("b")
    os.unlink(memory.at("b") + b"/a/file-1")
    memory.push("b")
    squash(memory)
    assert len(head_of(memory).layers) == 1
    memory.pull("c")
    assert sorted(os.listdir(memory.at("c") + b"/a")) == [b"file-0", b"file-2"]


def test_a_pusher_in_the_middle_of_a_squash_by_another_loses_nothing(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 6)
    memory.pull("b")
    write(memory.at("b"), b"from-b", b"b")
    others = [0]

    def squash_now(name: str, subject: str) -> None:
        # Between any two calls of the push another squashes, and what is there then is pushed to, too.
        others[0] += 1
        if others[0] in (3, 9, 14):
            memory.store.before = None
            write(memory.at("a"), b"a/at-%d" % others[0], b"")
            memory.push("a")
            squash(memory)
            memory.store.before = squash_now

    memory.store.before = squash_now
    push(memory.site("b"), PushOptions(lane="b"))
    memory.store.before = None
    assert others[0] > 14
    memory.pull("c")
    found = set(os.listdir(memory.at("c") + b"/a"))
    assert {b"at-3", b"at-9", b"at-14"} <= found
    assert len(found) == 9
    assert (memory.place / "c" / "from-b").read_bytes() == b"b"
    assert len(memory.log()) == 10


def test_two_overlapping_squashes_are_joined(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    memory.pull("b")
    memory.pull("c")
    write(memory.at("b"), b"from-b", b"b")
    write(memory.at("c"), b"from-c", b"c")
    for name in ("b", "c"):
        entry = dict(memory.store.pointers)
        memory.push(name)
        squash(memory)
        kept = {tag: digest for tag, digest in memory.store.pointers.items() if "._c" in tag}
        # The other squasher saw only its own part.
        memory.store.pointers = entry | {f"aside-{name}": next(iter(kept.values()))}
    for name in ("b", "c"):
        manifest = memory.manifest(f"aside-{name}")
        tag = memory.target.rpartition(":")[2]
        view = manifest["annotations"]["dev.instep.view"]
        memory.put(checkpoint_tag(tag, view), manifest)
    memory.pull("d")
    assert (memory.place / "d" / "from-b").read_bytes() == b"b"
    assert (memory.place / "d" / "from-c").read_bytes() == b"c"
    report = squash(memory)
    assert report.covered == 4
    assert [layer.kind for layer in head_of(memory).layers] == ["squash"]
    memory.pull("e")
    same(memory, "d", "e")


def test_what_a_retry_may_take_back_is_not_squashed(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    memory.pull("b")
    write(memory.at("b"), b"tried", b"1")
    memory.push("b", lane="task", attempt=0)
    assert squash(memory).covered == 3
    assert [layer.kind for layer in head_of(memory).layers] == ["squash", "change"]
    assert squash(memory, after=("task",)).covered == 4
    assert [layer.kind for layer in head_of(memory).layers] == ["squash"]
    # A squash covers it now: a later attempt adds to it.
    memory.pull("c", lane="task", attempt=1)
    assert (memory.place / "c" / "tried").read_bytes() == b"1"


def test_an_earlier_state_is_read_from_its_entry(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 5)
    third = memory.log()[2].id
    squash(memory)
    memory.pull("b", at=third)
    assert sorted(os.listdir(memory.at("b") + b"/a")) == [b"file-0", b"file-1", b"file-2"]


def test_the_base_is_not_squashed(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    memory.pull("b", target="memory.test/team/other:ws", base=parse_reference(memory.target))
    for number in range(3):
        write(memory.at("b"), b"later-%d" % number, b"x")
        os.unlink(memory.at("b") + b"/a/file-0") if number == 1 else None
        memory.push("b", to="memory.test/team/other:ws")
    site = memory.site("-", "memory.test/team/other:ws")
    report = squash_target(site, SquashOptions())
    assert (report.covered, report.layers) == (3, 3)
    memory.pull("c", target="memory.test/team/other:ws")
    same(memory, "b", "c")
    memory.pull("d")
    memory.pull("a")
    same(memory, "a", "d")


def test_large_and_small_files_are_carried_over_unchanged(tmp_path: Path) -> None:
    there = Workspaces(tmp_path)
    write(there.at("a"), b"large", noise(9 << 20))
    write(there.at("a"), b"empty", b"")
    there.push("a")
    os.link(there.at("a") + b"/large", there.at("a") + b"/another")
    write(there.at("a"), b"d/small", noise(3 << 20, 2))
    there.push("a")
    os.unlink(there.at("a") + b"/another")
    os.link(there.at("a") + b"/large", there.at("a") + b"/d/third")
    there.push("a")
    for compression in ("zstd", "gzip", "none"):
        write(there.at("a"), b"more", compression.encode())
        there.push("a")
        squash(there, compression=compression)
        there.pull(f"b-{compression}")
        same(there, "a", f"b-{compression}")
    site = there.site("-")
    assert b"".join(cat(site.store, site.target, b"large")) == noise(9 << 20)
    there.close()


@pytest.mark.skipif(not shutil.which("skopeo") or not shutil.which("umoci"), reason="skopeo or umoci is not installed")
@pytest.mark.skipif(os.getuid() != 0, reason="umoci unpacks as root")
def test_other_tools_unpack_a_squashed_head_as_we_do(tmp_path: Path) -> None:
    there, rng = Workspaces(tmp_path), random.Random(11)
    for number in range(20):
        scribble(there.at("a"), rng, number)
        there.push("a", compression="gzip")
        if number == 12:
            squash(there, compression="gzip")
    assert next(layer.kind for layer in head_of(there).layers) == "squash"
    run = ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{tmp_path}/layout:ws", f"oci:{tmp_path}/copy:ws"]
    subprocess.run(run, check=True, capture_output=True)
    there.pull("b", target=f"oci:{tmp_path}/copy:ws")
    same(there, "a", "b")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/copy:ws", f"{tmp_path}/bundle"], check=True, capture_output=True
    )
    unpacked = snapshot(os.fsencode(tmp_path / "bundle" / "rootfs"), mtimes=False)
    assert unlike(snapshot(there.at("a"), mtimes=False), unpacked) == {}
    there.close()
