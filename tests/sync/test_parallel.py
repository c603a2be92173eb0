"""Parallel writers: both changes count, and every conflict is reported (design, "Merge", "Head" and "Protocol")."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import ConflictError
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import noise, write
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces


def begin(memory: Workspaces, *names: str) -> None:
    """Push a few files from `a`, and pull them everywhere."""
    top = memory.at("a")
    for path in (b"d/one", b"d/two", b"e/three", b"f"):
        write(top, path, path)
    memory.push("a", lane="begin")
    for name in names:
        memory.pull(name)


def test_writers_that_did_not_see_each_other_both_count(memory: MemoryWorkspaces) -> None:
    begin(memory, "b", "c")
    write(memory.at("b"), b"d/one", b"b's")
    os.unlink(memory.at("b") + b"/f")
    write(memory.at("c"), b"d/new", b"c's")
    os.unlink(memory.at("c") + b"/e/three")
    os.rmdir(memory.at("c") + b"/e")
    for name in "bc":
        report = memory.push(name)
        assert (report.conflicts, report.head_moved) == ([], True)
    memory.pull("d")
    assert {path: row[2] for path, row in on_disk(memory.at("d")).items() if row[0] == "file"} == {
        "d/new": b"c's",
        "d/one": b"b's",
        "d/two": b"d/two",
    }
    assert applied(memory.store, "main") == on_disk(memory.at("d"))
    for name in "abc":
        assert memory.pull(name).conflicts == []
        assert unlike(snapshot(memory.at("d")), snapshot(memory.at(name))) == {}


def disagree(memory: MemoryWorkspaces) -> None:
    """Change `f` in `b` and push it; change it otherwise in `c`, whose clock is later, and do not."""
    begin(memory, "b", "c")
    write(memory.at("b"), b"f", b"b's")
    memory.push("b")
    write(memory.at("c"), b"f", b"c's")
    write(memory.at("c"), b"g", b"c's")


def test_what_disagrees_is_reported_by_the_push_and_by_every_pull(memory: MemoryWorkspaces) -> None:
    disagree(memory)
    report = memory.push("c")
    ids = {entry.lane: entry.id for entry in memory.log()}
    (conflict,) = report.conflicts
    assert (conflict.path, conflict.kind, conflict.won) == ("f", "content", report.id)
    assert dict(zip(conflict.lanes, conflict.ids, strict=True)) == {"b": ids["b"], "c": ids["c"]}
    assert memory.pull("d").conflicts == [conflict]
    assert memory.pull("d").conflicts == [conflict]  # up to date, so that nothing was merged
    assert on_disk(memory.at("d"))["f"][2] == b"c's"


def test_what_disagrees_stands_in_head_and_in_the_log_until_it_is_settled(memory: MemoryWorkspaces) -> None:
    disagree(memory)
    told = memory.push("c").conflicts
    assert memory.disputes() == (1, told)
    digest = memory.store.pointers.pop("main")
    assert memory.disputes() == (1, told)  # nobody says so, so that it is found anew
    memory.store.pointers["main"] = digest
    memory.pull("d")
    write(memory.at("d"), b"f", b"settled")
    memory.push("d")
    assert memory.disputes() == (0, [])


def test_head_names_the_first_hundred_conflicts_and_counts_all(memory: MemoryWorkspaces) -> None:
    begin(memory, "b", "c")
    for name in "bc":
        for number in range(130):
            write(memory.at(name), b"many/%03d" % number, name.encode())
    memory.push("b")
    told = memory.push("c").conflicts
    assert len(told) == 130
    assert memory.disputes() == (130, told[:100])
    assert len(memory.pull("d").conflicts) == 130


def test_a_conflict_is_its_own_writers_business(memory: MemoryWorkspaces) -> None:
    disagree(memory)
    memory.push("c")
    write(memory.at("a"), b"d/two", b"a's")
    assert memory.push("a", on_conflict="fail").conflicts == []
    memory.pull("d")
    write(memory.at("d"), b"d/one", b"d's")
    assert memory.push("d", on_conflict="fail").conflicts == []


def test_who_writes_the_path_again_settles_it(memory: MemoryWorkspaces) -> None:
    disagree(memory)
    memory.push("c")
    memory.pull("d")
    write(memory.at("d"), b"f", b"settled")
    assert memory.push("d").conflicts == []
    assert memory.pull("a", force=True).conflicts == []


def test_fail_publishes_nothing_if_it_sees_a_conflict(memory: MemoryWorkspaces) -> None:
    disagree(memory)
    (blobs, manifests, pointers), state = memory.frozen("c")
    disk = snapshot(memory.at("c"))
    with pytest.raises(ConflictError, match=r"disagree about f \(content\); nothing was published") as caught:
        memory.push("c", on_conflict="fail")
    assert caught.value.exit_code == 10
    assert (memory.store.manifests, memory.store.pointers) == (manifests, pointers)
    assert blobs.items() <= memory.store.blobs.items()
    assert memory.state_of("c") == state
    assert unlike(disk, snapshot(memory.at("c"))) == {}
    # Either way out works.
    assert len(memory.push("c").conflicts) == 1
    memory.pull("c")
    write(memory.at("c"), b"f", b"agreed")
    assert memory.push("c", on_conflict="fail").id


def test_fail_that_notices_only_after_publishing_says_so_and_the_change_counts(memory: MemoryWorkspaces) -> None:
    begin(memory, "b", "c")
    write(memory.at("b"), b"f", b"b's")
    write(memory.at("c"), b"f", b"c's")
    meanwhile(memory, lambda tag: "._p" in tag, lambda: memory.push("b"))
    with pytest.raises(ConflictError, match=r"disagree about f \(content\);.* was published, and it counts"):
        memory.push("c", on_conflict="fail")
    memory.store.before = None
    assert len(entries_of(memory.store)) == 3
    assert memory.changed("c") == []
    assert memory.push("c", on_conflict="fail").id is None
    report = memory.pull("d")
    assert len(report.conflicts) == 1
    assert applied(memory.store, "main") == on_disk(memory.at("d"))


def meanwhile(memory: MemoryWorkspaces, matching: Callable[[str], bool], act: Callable[[], object]) -> None:
    """Do something once, just before a manifest is put at a tag that matches."""
    done: list[str] = []

    def before(name: str, subject: str) -> None:
        if name == "put_manifest" and matching(subject) and not done:
            done.append(subject)
            act()

    memory.store.before = before


def test_who_waits_finds_that_another_moved_head_for_it(memory: MemoryWorkspaces) -> None:
    begin(memory, "b", "c")
    write(memory.at("b"), b"from-b", b"b")
    write(memory.at("c"), b"from-c", b"c")
    head = memory.store.pointers["main"]
    memory.push("b")
    memory.store.pointers["main"] = head
    site = memory.site("c")
    puts: list[str] = []
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        memory.store.before = None
        memory.pull("d", repair=True)
        memory.store.before = before

    def before(name: str, subject: str) -> None:
        if (name, subject) == ("put_manifest", "main"):
            puts.append(subject)

    memory.store.before = before
    report = push(site._replace(sleep=sleep), PushOptions(lane="c"))
    assert report.head_moved
    assert (puts, len(waits)) == ([], 1)
    assert {"from-b", "from-c"} < applied(memory.store, "main").keys()


def test_others_that_never_stop_moving_head_are_a_warning(memory: MemoryWorkspaces) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"g", b"b")
    head = memory.store.pointers["main"]

    def before(name: str, subject: str) -> None:
        if (name, subject) == ("get_manifest", "main"):
            memory.store.pointers["main"] = head

    memory.store.before = before
    report = memory.push("b")
    assert report.id
    assert not report.head_moved
    assert any("others keep moving head" in text for text in memory.notices)
    memory.store.before = None
    memory.pull("c")
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}


def test_different_bases_are_said_once(memory: MemoryWorkspaces) -> None:
    base = memory.open_store(parse_reference("memory.test/base:1"))
    put_image(base, "1", [{"from-1": b"1", "both": b"1", "too": b"1"}])
    put_image(base, "2", [{"from-2": b"2", "both": b"2", "too": b"2"}])
    for name in "12":
        memory.pull(name, base=parse_reference(f"memory.test/base:{name}"))
        write(memory.at(name), b"new-" + name.encode(), b"x")
    assert memory.push("1", on_conflict="fail").conflicts == []
    assert [conflict.kind for conflict in memory.push("2").conflicts] == ["base"]
    write(memory.at("2"), b"more", b"x")
    assert memory.push("2", on_conflict="fail").conflicts == []
    memory.pull("3")
    assert sorted(on_disk(memory.at("3"))) == ["both", "from-1", "from-2", "more", "new-1", "new-2", "too"]
    assert applied(memory.store, "main") == on_disk(memory.at("3"))


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_rounds_ends_with_one_tree_that_plain_tools_see_too(memory: MemoryWorkspaces, seed: int) -> None:
    chance = random.Random(seed)
    names = "bcd"
    begin(memory, *names)
    for turn in range(6):
        for name in chance.sample(names, k=chance.randint(1, 3)):
            edit(chance, memory.at(name), turn)
            attempt = chance.choice([None, None, turn])
            memory.push(name, lane=f"lane-{name}", attempt=attempt)
        if chance.random() < 0.5:
            memory.pull(chance.choice(names))
    for name in (*names, "fresh"):
        memory.pull(name)
    trees = [snapshot(memory.at(name)) for name in (*names, "fresh")]
    assert all(unlike(trees[0], tree) == {} for tree in trees)
    assert applied(memory.store, "main") == on_disk(memory.at("fresh"))


def edit(chance: random.Random, top: bytes, turn: int) -> None:
    """Change a few paths at random, none below a path that is a file."""
    for _ in range(chance.randint(1, 4)):
        path = chance.choice([b"d/one", b"d/two", b"e/three", b"e/four", b"f", b"g/h/i"])
        place = os.path.join(top, path)
        what = chance.randrange(4)
        if what == 0 and os.path.exists(place):
            os.unlink(place)
        elif what == 1 and os.path.exists(place):
            os.chmod(place, chance.choice([0o600, 0o644, 0o755]))
        elif what == 2 and os.path.exists(place):
            os.utime(place, ns=(turn, turn))
        else:
            write(top, path, noise(chance.randint(0, 300), chance.randrange(3)))
