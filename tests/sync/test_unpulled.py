"""Writes of what a sparse writer had not pulled: they settle nothing, not even in a chain (design, "Merge")."""

from __future__ import annotations

import os

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import ConflictError
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.remote.target import Target
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import applied, on_disk

DISPUTED = (1, ["f"])


def begin(memory: MemoryWorkspaces, *names: str) -> None:
    """Push a few files from `a`, and pull only `d` everywhere else."""
    for path in (b"d/one", b"f", b"g"):
        write(memory.at("a"), path, path)
    memory.push("a")
    for name in names:
        memory.pull(name, paths=(b"d",))


def disputes(memory: MemoryWorkspaces) -> tuple[int, list[str]]:
    count, first = memory.disputes()
    return count, [conflict.path for conflict in first]


def marks(memory: MemoryWorkspaces) -> list[bool]:
    """Return which changes say that they hold an unpulled write, newest first."""
    reference = parse_reference(memory.target)
    records = Target(memory.open_store, reference, ("linux", "amd64", "")).read_snapshot().union.records.values()
    return [record.unpulled for record in sorted(records, key=lambda record: record.version, reverse=True)]


def test_a_sparse_writer_who_wrote_on_top_of_a_chain_what_it_had_not_pulled_is_told(memory: MemoryWorkspaces) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"f", b"b's")
    report = memory.push("b")
    assert [conflict.path for conflict in report.conflicts] == ["f"]
    assert disputes(memory) == DISPUTED
    assert marks(memory) == [True, False]
    assert [conflict.path for conflict in memory.pull("c").conflicts] == ["f"]
    # And again, when nothing has to be merged.
    assert [conflict.path for conflict in memory.pull("c").conflicts] == ["f"]
    assert on_disk(memory.at("c"))["f"][2] == b"b's"
    assert applied(memory.store, "main") == on_disk(memory.at("c"))


def test_where_conflicts_are_refused_nothing_is_published(memory: MemoryWorkspaces) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"f", b"b's")
    with pytest.raises(ConflictError, match="disagree about f"):
        memory.push("b", on_conflict="fail")
    assert len(memory.log()) == 1


def test_two_sparse_writers_one_after_the_other_are_both_told(memory: MemoryWorkspaces) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"new", b"b's")
    assert memory.push("b").conflicts == []
    memory.pull("c", paths=(b"d",))
    write(memory.at("c"), b"new", b"c's")
    write(memory.at("c"), b"g", b"c's")
    assert [conflict.path for conflict in memory.push("c").conflicts] == ["g", "new"]
    assert marks(memory) == [True, False, False]
    # Whoever builds on it without touching it changes nothing about that, and is not to blame.
    memory.pull("a")
    write(memory.at("a"), b"other", b"a's")
    assert memory.push("a", on_conflict="fail").conflicts == []
    assert disputes(memory) == (2, ["g", "new"])


@pytest.mark.parametrize("what", ["in what was pulled", "new", "the same"])
def test_what_disputes_nothing_is_no_conflict(memory: MemoryWorkspaces, what: str) -> None:
    begin(memory, "b")
    path, content = {"in what was pulled": ("d/one", b"x"), "new": ("new", b"x"), "the same": ("f", b"f")}[what]
    write(memory.at("b"), path.encode(), content)
    assert memory.push("b").conflicts == []
    assert disputes(memory) == (0, [])
    assert marks(memory) == [what == "the same", False]


def test_who_saw_both_and_writes_settles_it(memory: MemoryWorkspaces) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"f", b"b's")
    memory.push("b")
    memory.pull("c")
    write(memory.at("c"), b"f", b"c's")
    assert memory.push("c").conflicts == []
    assert disputes(memory) == (0, [])


@pytest.mark.parametrize("settled", [False, True])
def test_a_squash_keeps_what_is_disputed_and_makes_a_chain_of_what_is_not(
    memory: MemoryWorkspaces, settled: bool
) -> None:
    begin(memory, "b")
    write(memory.at("b"), b"f", b"b's")
    memory.push("b")
    memory.pull("c")
    write(memory.at("c"), b"f" if settled else b"g", b"c's")
    memory.push("c")
    before = disputes(memory)
    assert squash_target(memory.site("c"), SquashOptions()).covered == 3
    reference = parse_reference(memory.target)
    union = Target(memory.open_store, reference, ("linux", "amd64", "")).read_snapshot().union
    assert union.is_chain is settled
    assert disputes(memory) == before == ((0, []) if settled else DISPUTED)
    memory.pull("c")
    write(memory.at("c"), b"h", b"c's")
    assert memory.push("c").conflicts == []
    assert disputes(memory) == before
    assert applied(memory.store, "main") == on_disk(memory.at("c"))


def test_a_file_in_place_of_a_directory_that_was_not_pulled_is_told(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"d/one", b"1")
    write(memory.at("a"), b"e/two", b"2")
    memory.push("a")
    memory.pull("b", paths=(b"d",))
    write(memory.at("b"), b"e", b"now a file")
    report = memory.push("b")
    assert [(conflict.path, conflict.kind) for conflict in report.conflicts] == [("e", "type")]
    memory.pull("c")
    assert sorted(os.listdir(memory.at("c"))) == [b"d", b"e"]
    assert applied(memory.store, "main") == on_disk(memory.at("c"))
