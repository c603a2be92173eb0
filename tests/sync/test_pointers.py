"""A lane's pointers: numbered, each written once, found without a list (docs/decisions/numbered-pointers.md)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core.image.image import Image
from agent.core.model.pointer_numbers import Place
from agent.core.model.record import NUMBER_MAX
from agent.core.spelling.digest import digest_of
from agent.core.spelling.tags import mark_tag, pointer_tag
from agent.sync.remote.lane_pointers import count_pointers
from agent.sync.remote.resolved_image import ResolvedImage
from tests.core.made import layer_of
from tests.fakes.contents import write
from tests.fakes.killing import Killed
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import on_disk

MARK = mark_tag("main")


def numbers(memory: MemoryWorkspaces, lane: str = "a", attempt: int = 0) -> list[int]:
    """Return the numbers of a lane's pointers."""
    return [number for number in range(50) if pointer_tag("main", lane, attempt, number) in memory.store.pointers]


def hide(memory: MemoryWorkspaces) -> None:
    """Let head and the list tell nothing: names are all that is left."""
    for tag in (*entries_of(memory.store), "main"):
        if tag in memory.store.pointers:
            memory.store.pointers["hidden-" + tag] = memory.store.pointers.pop(tag)


def pushes(memory: MemoryWorkspaces, name: str, *files: str, lane: str = "a", **options: object) -> None:
    for file in files:
        write(memory.at(name), file.encode(), file.encode())
        assert memory.push(name, lane=lane, **options).id  # type: ignore[arg-type]


def pulled(memory: MemoryWorkspaces, *lanes: str) -> list[str]:
    """Return the files that a pull by name gives."""
    shutil.rmtree(memory.at("z"))
    memory.pull("z", after=lanes, force=True)
    return sorted(on_disk(memory.at("z")))


def asked(memory: MemoryWorkspaces, act: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the calls about tags that something makes."""
    memory.store.log.clear()
    act()
    return [call for call in memory.store.log if call[0] in ("get_manifest", "put_manifest", "tags")]


def test_each_push_takes_the_next_number_and_no_pointer_moves(memory: MemoryWorkspaces) -> None:
    seen: dict[str, str] = {}
    for number, file in enumerate(("one", "two", "three")):
        pushes(memory, "a", file)
        assert numbers(memory) == list(range(number + 1))
        assert (MARK in memory.store.pointers) is (number > 0)
        now = {tag: digest for tag, digest in memory.store.pointers.items() if "._p" in tag}
        assert now.items() >= seen.items()
        seen = now
    hide(memory)
    assert pulled(memory, "a") == ["one", "three", "two"]


def test_a_first_push_looks_once_for_its_number_and_not_for_its_entry(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"1")
    calls = [subject for _, subject in asked(memory, lambda: memory.push("a"))]
    assert calls.count(pointer_tag("main", "a", 0, 0)) == 2  # looked at, and put
    assert sum("._e" in subject for subject in calls) == 1  # put
    assert MARK not in calls


def test_a_push_on_top_of_ones_own_asks_for_the_next_number_only(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one", "two")
    write(memory.at("a"), b"f", b"1")
    calls = [subject for _, subject in asked(memory, lambda: memory.push("a")) if "._p" in subject or "._m" in subject]
    assert calls == [pointer_tag("main", "a", 0, 2)] * 2


def test_a_pull_that_names_a_lane_of_one_push_asks_for_three_names(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one")
    calls = asked(memory, lambda: memory.pull("b", after=("a",)))
    assert [subject for _, subject in calls] == ["main", pointer_tag("main", "a", 0, 0), MARK]


def test_a_pull_that_names_many_lanes_asks_for_the_mark_once(memory: MemoryWorkspaces) -> None:
    memory.pull("z", force=True, create=True)
    lanes = [f"lane-{number}" for number in range(5)]
    for lane in lanes:
        memory.pull(lane, create=True)
        pushes(memory, lane, lane, lane=lane, attempt=0)
    assert len(asked(memory, lambda: memory.pull("b", after=tuple(lanes)))) == 1 + len(lanes) + 1


def test_a_second_directory_under_the_lane_takes_the_number_behind_what_it_finds(memory: MemoryWorkspaces) -> None:
    memory.pull("b", create=True)
    pushes(memory, "a", "one", "two")
    pushes(memory, "b", "three", fresh=True)
    assert numbers(memory) == [0, 1, 2]
    pushes(memory, "a", "four")
    assert numbers(memory) == [0, 1, 2, 3]
    hide(memory)
    assert pulled(memory, "a") == ["four", "one", "three", "two"]


def test_who_lost_the_state_goes_on_counting(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one", "two")
    for round_ in range(3):
        name = f"new-{round_}"
        memory.pull(name)
        pushes(memory, name, name)
    assert numbers(memory) == [0, 1, 2, 3, 4]
    hide(memory)
    assert pulled(memory, "a") == ["new-0", "new-1", "new-2", "one", "two"]


def test_one_who_pulled_before_the_others_pushed_goes_on_behind_them(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one")
    memory.pull("b")
    pushes(memory, "a", *(f"more-{number}" for number in range(9)))
    pushes(memory, "b", "mine")
    assert numbers(memory) == list(range(11))
    hide(memory)
    assert len(pulled(memory, "a")) == 11


def test_a_later_attempt_is_found_behind_earlier_ones_that_never_came(memory: MemoryWorkspaces) -> None:
    pushes(memory, "b", "other", lane="b", attempt=0)
    memory.pull("a")
    pushes(memory, "a", "one", "two", attempt=3)
    assert [numbers(memory, attempt=attempt) for attempt in range(5)] == [[0], [0], [0], [0, 1], []]
    hide(memory)
    assert pulled(memory, "a") == ["one", "other", "two"]


def test_a_push_finishes_one_that_was_stopped_before_its_pointer(memory: MemoryWorkspaces) -> None:
    """Else there were a gap, and whoever counts would stop there."""
    pushes(memory, "a", "one")

    def strike(name: str, subject: str) -> None:
        if name == "put_manifest" and "._p" in subject:
            raise Killed

    memory.store.before = strike
    write(memory.at("a"), b"two", b"2")
    with pytest.raises(Killed):
        memory.push("a")
    memory.store.before = None
    assert numbers(memory) == [0]
    memory.pull("b")
    pushes(memory, "b", "three")
    assert numbers(memory) == [0, 1, 2]
    hide(memory)
    assert pulled(memory, "a") == ["one", "three", "two"]


def killed_before_its_pointer(memory: MemoryWorkspaces) -> None:
    """Let `a` push, and die before it puts a pointer."""

    def strike(name: str, subject: str) -> None:
        if name == "put_manifest" and "._p" in subject:
            raise Killed

    memory.store.before = strike
    with pytest.raises(Killed):
        memory.push("a")
    memory.store.before = None


def test_a_rerun_whose_number_was_taken_meanwhile_takes_the_next(memory: MemoryWorkspaces) -> None:
    memory.pull("b", create=True)
    write(memory.at("a"), b"one", b"1")
    killed_before_its_pointer(memory)
    pushes(memory, "b", "two", fresh=True)
    first = memory.store.pointers[pointer_tag("main", "a", 0, 0)]
    assert memory.push("a").id
    assert numbers(memory) == [0, 1]
    assert memory.store.pointers[pointer_tag("main", "a", 0, 0)] == first
    hide(memory)
    assert pulled(memory, "a") == ["one", "two"]


def test_a_rerun_after_many_pushes_of_another_takes_the_next_number_at_once(memory: MemoryWorkspaces) -> None:
    memory.pull("b", create=True)
    write(memory.at("a"), b"one", b"1")
    killed_before_its_pointer(memory)
    pushes(memory, "b", *(f"more-{number}" for number in range(20)), fresh=True)
    calls = [subject for _, subject in asked(memory, lambda: memory.push("a")) if "._p" in subject]
    assert numbers(memory) == list(range(21))
    assert len(calls) <= 14
    hide(memory)
    assert len(pulled(memory, "a")) == 21


def test_two_who_took_one_number_at_the_same_moment_are_found_where_the_list_tells_of_both(
    memory: MemoryWorkspaces,
) -> None:
    memory.pull("b", create=True)
    write(memory.at("a"), b"one", b"1")
    write(memory.at("b"), b"two", b"2")
    pointer, pushed = pointer_tag("main", "me", 0, 0), []

    def meanwhile(name: str, subject: str) -> None:
        if (name, subject) == ("put_manifest", pointer) and not pushed:
            pushed.append(subject)
            memory.push("b", lane="me", fresh=True)

    memory.store.before = meanwhile
    memory.push("a", lane="me")
    memory.store.before = None
    assert numbers(memory, "me") == [0]
    assert MARK in memory.store.pointers
    # An older head lands late, which holds what the pointer leads to, and nothing of the other.
    entry = memory.manifest(pointer)
    entry["annotations"] = {key: value for key, value in entry["annotations"].items() if "change" not in key}
    memory.put("main", entry)
    assert pulled(memory, "me") == ["one", "two"]


def test_a_directory_that_moves_to_another_target_counts_anew_there(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one", "two", "three")
    pushes(memory, "a", "four", to="memory.test/team/ws:other")
    others = [tag for tag in memory.store.pointers if tag.startswith("other.a._p")]
    assert others == [pointer_tag("other", "a", 0, 0)]
    assert mark_tag("other") not in memory.store.pointers


def test_the_mark_is_no_entry_nor_head(memory: MemoryWorkspaces) -> None:
    pushes(memory, "a", "one", "two")
    others = {digest for tag, digest in memory.store.pointers.items() if tag != MARK}
    assert memory.store.pointers[MARK] not in others


# Reading a long lane.


class Lane:
    """A lane that directories, none of which ever pulled, push to in turn: an entry has what its own pushed before."""

    def __init__(self, length: int, missing: tuple[int, ...] = (), directories: int = 1) -> None:
        layers = [layer_of(number + 1, lane="a") for number in range(length)]
        self.layers = [
            layer._replace(record=replace(layer.record, number=number)) for number, layer in enumerate(layers)
        ]
        self.missing, self.directories = missing, directories
        self.asked: list[str] = []

    def __call__(self, tag: str) -> ResolvedImage | None:
        self.asked.append(tag)
        for number in range(len(self.layers)):
            if tag == pointer_tag("main", "a", 0, number) and number not in self.missing:
                return ResolvedImage(self.entry(number), digest_of(b"%d" % number))
        return None

    def entry(self, number: int) -> Image:
        layers = tuple(self.layers[number % self.directories : number + 1 : self.directories])
        assert layers[-1].record
        return Image(layers, "main", lane="a", change=layers[-1].record.id)

    def known(self, *chosen: int) -> list[object]:
        return [self.layers[number].record for number in chosen]


@pytest.mark.parametrize("known", [0, 1, 500, 998, 999])
def test_of_a_thousand_pushes_few_pointers_are_read(known: int) -> None:
    lane = Lane(1000)
    followed = count_pointers(lane, "main", "a", lane.known(*range(known)), {})  # type: ignore[arg-type]
    assert followed.end == Place(0, 1000)
    found = {change for located in followed.found.values() for change in located.image.records}
    assert found >= {layer.record.id for layer in lane.layers[known:] if layer.record}
    assert len(lane.asked) <= 25
    if known == 999:
        assert len(lane.asked) <= 5


def test_what_nobody_knows_below_the_largest_known_number_is_read() -> None:
    lane = Lane(30, directories=3)
    followed = count_pointers(lane, "main", "a", lane.known(*range(0, 30, 3), 2, 29), {})  # type: ignore[arg-type]
    assert followed.end == Place(0, 30)
    # One of each directory that nobody knows all of.
    assert followed.found.keys() == {Place(0, 29), Place(0, 28)}


def test_what_was_pruned_and_is_known_is_no_gap() -> None:
    lane = Lane(10, missing=(0, 1, 2, 5))
    followed = count_pointers(lane, "main", "a", lane.known(0, 1, 2, 5), {})  # type: ignore[arg-type]
    assert followed.end == Place(0, 10)


def test_a_change_that_claims_an_absurd_number_costs_little() -> None:
    lane = Lane(3)
    (first,) = lane.known(0)
    absurd = replace(first, number=NUMBER_MAX - 2)  # type: ignore[type-var]
    followed = count_pointers(lane, "main", "a", [absurd], {})  # type: ignore[list-item]
    assert followed.end == Place(0, NUMBER_MAX - 1)
    assert len(lane.asked) < 110


def test_a_lane_that_nobody_knows_and_that_is_not_there_ends_at_once() -> None:
    lane = Lane(0)
    followed = count_pointers(lane, "main", "a", [], {})
    assert (followed.found, followed.end) == ({}, Place(0, 0))
    assert len(lane.asked) == 2
