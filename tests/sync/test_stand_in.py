"""What stands on the disk and is remembered need not be looked up in layers again (docs/decisions/stand-in.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import IntegrityError
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.workspace.state.state_file import read_state, write_state
from tests.fakes.contents import noise, write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import let_the_clock_tick

BASE = parse_reference("memory.test/base/image:3")
FILES = 99
"""So many that no manifest has room for their table of contents."""


def fill(top: bytes) -> None:
    for number in range(FILES):
        write(top, b"d%d/file-%d" % (number % 3, number), noise(300, number))
    os.symlink(b"d0", top + b"/link")


def one_change(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    memory.push("a")


def several_changes(memory: MemoryWorkspaces) -> None:
    one_change(memory)
    for number in range(3):
        write(memory.at("a"), b"d%d/file-%d" % (number, number), b"%d" % number)
        os.unlink(memory.at("a") + b"/d0/file-%d" % (number * 3 + 9))
        memory.push("a")


def a_squash(memory: MemoryWorkspaces) -> None:
    several_changes(memory)
    squash_target(memory.site("-"), SquashOptions())


def a_base_of_others(memory: MemoryWorkspaces) -> None:
    store = memory.open_store(BASE)
    assert isinstance(store, MemoryStore)
    files = {f"d{number % 3}/file-{number}": noise(300, number) for number in range(FILES)}
    put_image(store, "3", [{"d0/": None, "d1/": None, "d2/": None, **files}])
    memory.pull("a", base=BASE)
    write(memory.at("a"), b"new", b"new")
    memory.push("a")


ORIGINS = [one_change, several_changes, a_squash, a_base_of_others]
origins = pytest.mark.parametrize("begin", ORIGINS, ids=lambda begin: begin.__name__)


def read_of(memory: MemoryWorkspaces, old: set[str]) -> list[str]:
    """Return which of the layers `old` were read since the log was cleared."""
    return [subject for name, subject in memory.store.log if name == "read_blob" and subject in old]


def check(memory: MemoryWorkspaces, *names: str) -> None:
    for name in names:
        assert unlike(snapshot(memory.at("a")), snapshot(memory.at(name))) == {}
        assert memory.changed(name) == []


def pulled_again(memory: MemoryWorkspaces, change: Callable[[bytes], Any], **options: Any) -> list[str]:
    """Let `b` pull, `a` push a change, `b` pull that; return which layers were read that `b` had all of."""
    memory.pull("b", **options)
    old = {layer["digest"] for layer in memory.manifest("main")["layers"]}
    change(memory.at("a"))
    assert memory.push("a").id
    memory.store.log.clear()
    memory.pull("b", **options)
    return read_of(memory, old)


@origins
def test_a_pull_looks_into_no_layer_whose_paths_it_has(memory: MemoryWorkspaces, begin: Any) -> None:
    def change(top: bytes) -> None:
        write(top, b"d1/file-4", b"changed")
        write(top, b"d3/deep/new", b"new")
        os.unlink(top + b"/d2/file-5")
        os.utime(top + b"/d0/file-6", ns=(5, 5))
        os.chmod(top + b"/d0", 0o700)

    begin(memory)
    assert pulled_again(memory, change) == []
    check(memory, "b")
    memory.pull("c")
    check(memory, "c")


@origins
def test_what_b_pushed_itself_need_not_be_looked_into_either(memory: MemoryWorkspaces, begin: Any) -> None:
    begin(memory)
    memory.pull("b")
    write(memory.at("b"), b"from-b", b"b")
    os.unlink(memory.at("b") + b"/d1/file-1")
    memory.push("b")
    memory.pull("a")
    assert pulled_again(memory, lambda top: write(top, b"d0/file-0", b"changed")) == []
    check(memory, "b")


@origins
def test_a_new_name_of_a_file_that_stands_gets_its_content_from_where_it_lies(
    memory: MemoryWorkspaces, begin: Any
) -> None:
    begin(memory)
    assert pulled_again(memory, lambda top: os.link(top + b"/d1/file-4", top + b"/x-name-of-4"))
    check(memory, "b")
    assert pulled_again(memory, lambda top: os.unlink(top + b"/d1/file-4")) == []
    check(memory, "b")


@pytest.mark.parametrize("begin", [several_changes, a_base_of_others], ids=lambda begin: begin.__name__)
def test_what_stood_in_other_layers_before_a_squash_gets_its_content_from_where_it_lies_now(
    memory: MemoryWorkspaces, begin: Any
) -> None:
    def change(top: bytes) -> None:
        squash_target(memory.site("-"), SquashOptions())
        os.link(top + b"/d1/file-4", top + b"/x-name-of-4")
        os.rename(top + b"/d2/file-5", top + b"/d2/file-of-b")

    begin(memory)
    pulled_again(memory, change)
    check(memory, "b")


def test_a_state_that_is_not_what_the_layers_hold_gives_no_content(memory: MemoryWorkspaces) -> None:
    several_changes(memory)
    memory.pull("b")
    let_the_clock_tick()
    memory.push("b")  # sees once more what was written within the clock's tick
    path = memory.place / ".state-b" / "state"
    with read_state(str(path)) or pytest.fail("missing") as state:
        rows = [
            row._replace(node=row.node._replace(sha256=b"\1" * 32)) if row.path == b"d1/file-4" else row
            for row in state
        ]
        write_state(str(path), state.header, rows)
    os.link(memory.at("a") + b"/d1/file-4", memory.at("a") + b"/x-name-of-4")
    memory.push("a")
    with pytest.raises(IntegrityError, match="is not what its layers hold"):
        memory.pull("b")
    memory.pull("b", force=True)
    check(memory, "b")


def test_a_name_that_someone_gave_a_file_elsewhere_does_not_lose_its_file(memory: MemoryWorkspaces) -> None:
    several_changes(memory)
    memory.pull("b")
    elsewhere = os.fsencode(memory.place) + b"/elsewhere"
    os.link(memory.at("b") + b"/d1/file-4", elsewhere)
    before = os.stat(elsewhere)
    assert pulled_again(memory, lambda top: os.utime(top + b"/d1/file-4", ns=(7, 7)))
    check(memory, "b")
    assert (os.stat(elsewhere).st_mtime_ns, os.stat(elsewhere).st_ino) == (before.st_mtime_ns, before.st_ino)


def test_who_asks_for_whole_layers_gets_all_of_them_verified(memory: MemoryWorkspaces) -> None:
    one_change(memory)
    memory.pull("b")
    (layer,) = memory.manifest("main")["layers"]
    blob = bytearray(memory.store.blobs[layer["digest"]])
    blob[len(blob) // 3] ^= 1
    write(memory.at("a"), b"d1/file-4", b"changed")
    memory.push("a")
    memory.store.blobs[layer["digest"]] = bytes(blob)
    with pytest.raises(IntegrityError):
        memory.pull("b", verify_whole=True)
    memory.pull("b")
    check(memory, "b")


def test_a_part_of_a_tree_stands_in_for_nothing(memory: MemoryWorkspaces) -> None:
    several_changes(memory)
    assert pulled_again(memory, lambda top: write(top, b"d1/file-4", b"changed"), paths=(b"d1",))
    memory.pull("b", paths=(b"**",))
    check(memory, "b")


def test_what_was_made_beside_the_disks_changes_is_merged_with_all_of_them(memory: MemoryWorkspaces) -> None:
    one_change(memory)
    for name in "bc":
        memory.pull(name)
    write(memory.at("b"), b"d1/file-4", b"b")
    memory.push("b")
    write(memory.at("c"), b"d1/file-4", b"c")
    memory.push("c")
    assert [conflict.path for conflict in memory.pull("b").conflicts] == ["d1/file-4"]
    memory.pull("a")
    check(memory, "b", "c")


def test_what_a_sparse_writer_wrote_unpulled_is_disputed_with_what_lies_on_the_disk(memory: MemoryWorkspaces) -> None:
    one_change(memory)
    for name in "bd":
        memory.pull(name)
    memory.pull("c", paths=(b"d0",))
    os.mkdir(memory.at("c") + b"/d1")
    write(memory.at("c"), b"d1/file-4", b"unpulled")
    memory.push("c")
    write(memory.at("d"), b"beside", b"d")
    memory.push("d")
    assert [conflict.path for conflict in memory.pull("b").conflicts] == ["d1/file-4"]
    memory.pull("a")
    check(memory, "b")
