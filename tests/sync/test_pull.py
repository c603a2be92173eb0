"""What a pull makes of a directory (design, "Changes", "Head" and "Protocol")."""

from __future__ import annotations

import gzip
import os
import time
from functools import partial
from math import inf

import pytest

from agent.core.spelling.tags import pointer_tag
from agent.errors import DivergedError, IntegrityError, UnavailableError, UsageError
from agent.store.port import Manifest
from agent.sync.directory_scan import scan_directory
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from agent.workspace.state.row_buffer import RowBuffer
from tests.fakes.contents import noise, write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, unpacked
from tests.fakes.trees import snapshot, unlike

pytestmark = pytest.mark.usefixtures("parts")


def history(memory: MemoryWorkspaces, *contents: bytes) -> list[str]:
    """Push `f` once with each content from `a`; return the ids."""
    ids = []
    for content in contents:
        write(memory.at("a"), b"f", content)
        ids.append(str(memory.push("a").id))
    return ids


def nine_files(memory: MemoryWorkspaces) -> None:
    """Push nine files from `a`, and pull them into `b`."""
    for number in range(9):
        write(memory.at("a"), b"f%d" % number, b"%d" % number)
    memory.push("a")
    memory.pull("b")


def content(memory: MemoryWorkspaces, name: str, path: str = "f") -> bytes | None:
    found = on_disk(memory.at(name)).get(path)
    return found[2] if found else None


def test_a_target_that_is_not_there_yet_starts_empty(memory: MemoryWorkspaces) -> None:
    report = memory.pull("a", create=True)
    assert (report.digest, report.frontier, report.paths) == (None, [], 0)
    assert any("starts empty" in text for text in memory.notices)
    write(memory.at("a"), b"f", b"1")
    assert memory.push("a").id
    assert memory.pull("b").written == 1


def test_a_pull_writes_nothing_to_the_target(memory: MemoryWorkspaces) -> None:
    history(memory, b"1", b"2")
    before, _ = memory.frozen()
    memory.pull("b")
    assert memory.frozen()[0] == before


@pytest.mark.parametrize("length", [64, 8])
def test_at_gives_the_workspace_as_that_changes_writer_had_it(memory: MemoryWorkspaces, length: int) -> None:
    ids = history(memory, b"one", b"two", b"three")
    for name, change, expected in zip("bcd", ids, (b"one", b"two", b"three"), strict=True):
        report = memory.pull(name, at=change[:length])
        assert (content(memory, name), report.frontier) == (expected, [change])
    # And back again.
    memory.pull("b")
    assert content(memory, "b") == b"three"
    memory.pull("b", at=ids[0])
    assert content(memory, "b") == b"one"


@pytest.mark.parametrize("at", ["f00d" * 16, ""])
def test_at_something_that_is_no_change_or_several_is_refused(memory: MemoryWorkspaces, at: str) -> None:
    history(memory, b"one", b"two")
    before = memory.frozen("b")
    with pytest.raises(UsageError, match=r"no change has this id|2 changes have ids that start so"):
        memory.pull("b", at=at)
    assert memory.frozen("b") == before
    assert on_disk(memory.at("b")) == {}


def test_a_lane_that_published_nothing_is_no_error_and_not_waited_for(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    assert memory.pull("b", after=("never/ran", "a")).written == 1
    assert memory.slept == []


def test_a_lane_that_published_nothing_is_looked_for_where_each_reader_sees_something_else(
    memory: MemoryWorkspaces,
) -> None:
    history(memory, b"one")
    memory.store.is_replicated = True
    assert memory.pull("b", after=("never/ran", "a")).written == 1
    assert sum(memory.slept) == 3.0


def test_a_pointer_that_one_reader_sees_later_is_found(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    memory.pull("b")
    head = memory.store.pointers["main"]
    write(memory.at("b"), b"g", b"b")
    memory.push("b", lane="run/b", attempt=0)
    memory.store.pointers["main"] = head
    hidden = {
        tag: memory.store.pointers.pop(tag) for tag in list(memory.store.pointers) if "._p" in tag or "._e" in tag
    }
    memory.store.is_replicated = True

    def sleep(seconds: float) -> None:
        memory.slept.append(seconds)
        if len(memory.slept) == 3:
            memory.store.pointers |= hidden

    site = memory.site("c")._replace(sleep=sleep)
    pull(site, PullOptions(after=("run/b",)))
    assert sorted(on_disk(memory.at("c"))) == ["f", "g"]


class Late(MemoryStore):
    """Shows pointers in no list, and by their names after so many looks."""

    def __init__(self, looks: float) -> None:
        super().__init__()
        self.looks = looks

    def get_manifest(self, reference: str) -> Manifest | None:
        if "._p" in reference and reference in self.pointers:
            self.looks -= 1
            if self.looks >= 0:
                return None
        return super().get_manifest(reference)

    def tags(self, prefix: str = "") -> list[str]:
        return [tag for tag in super().tags(prefix) if "._p" not in tag]


def push_to(store: MemoryStore, memory: MemoryWorkspaces) -> PushReport:
    return push(memory.site("a")._replace(open_store=lambda _: store), PushOptions(lane="a"))


def test_a_push_waits_until_its_pointer_is_shown(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"one")
    assert push_to(Late(4), memory).id
    assert memory.slept == [0.05, 0.1, 0.2, 0.4]


def test_a_push_does_not_look_for_a_pointer_that_the_list_shows(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    calls = [call for call, subject in memory.store.log if "._p" in subject]
    assert calls == ["get_manifest", "put_manifest"]  # it looked once whether the number is free


def test_a_push_whose_pointer_is_never_shown_says_so_and_can_be_repeated(memory: MemoryWorkspaces) -> None:
    store = Late(inf)
    write(memory.at("a"), b"f", b"one")
    with pytest.raises(UnavailableError, match="does not show this tag 2m after it took it"):
        push_to(store, memory)
    assert 120 <= sum(memory.slept) < 125
    store.looks = 0
    assert push_to(store, memory).id
    assert len(entries_of(store)) == 1


def test_what_a_named_lane_pushed_is_there_though_head_and_the_list_lag(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    memory.pull("b")
    head = memory.store.pointers["main"]
    for attempt in (0, 1, 2):
        write(memory.at("b"), b"g%d" % attempt, b"b")
        memory.push("b", lane="run/b", attempt=attempt)
    memory.store.pointers["main"] = head
    for tag in entries_of(memory.store):  # as long as no list tells of them
        memory.store.pointers["hidden-" + tag] = memory.store.pointers.pop(tag)
    assert "g0" not in on_disk(memory.at("c"))
    memory.pull("c")
    assert sorted(on_disk(memory.at("c"))) == ["f"]
    memory.pull("c", after=("run/b",))
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}


def test_an_attempt_that_published_nothing_hides_no_later_one(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    memory.pull("b")
    write(memory.at("b"), b"g", b"b")
    memory.push("b", lane="x", attempt=3)
    for tag in entries_of(memory.store):
        del memory.store.pointers[tag]
    del memory.store.pointers["main"]
    memory.pull("c", after=("x",))
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}


def test_a_pointer_to_another_lanes_entry_is_an_error(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    memory.store.pointers[pointer_tag("main", "x", 0, 0)] = memory.store.pointers[pointer_tag("main", "a", 0, 0)]
    with pytest.raises(IntegrityError, match="pointer that belongs to another lane"):
        memory.pull("b", after=("x",))


def attempts(memory: MemoryWorkspaces) -> None:
    """Lane `x` pushes from `b`, is tried again in `c`, where it writes less, after `d` built on the first try."""
    history(memory, b"one")
    for name in "bc":
        memory.pull(name)
    write(memory.at("b"), b"f", b"first try")
    write(memory.at("b"), b"only-first", b"x")
    memory.push("b", lane="x", attempt=0)
    memory.pull("d")
    write(memory.at("d"), b"built-on-it", b"d")
    memory.push("d", lane="d", attempt=0)
    memory.pull("c", lane="x", attempt=1)


def test_an_attempt_does_not_see_earlier_ones_nor_what_was_built_on_them(memory: MemoryWorkspaces) -> None:
    attempts(memory)
    assert sorted(on_disk(memory.at("c"))) == ["f"]
    assert content(memory, "c") == b"one"
    memory.pull("e", lane="x", attempt=0)
    memory.pull("g", lane="y", attempt=5)
    for name in "eg":
        assert sorted(on_disk(memory.at(name))) == ["built-on-it", "f", "only-first"]


def test_a_later_attempt_replaces_the_earlier_and_what_was_built_on_it_stays(memory: MemoryWorkspaces) -> None:
    attempts(memory)
    write(memory.at("c"), b"second", b"c")
    memory.push("c", lane="x", attempt=1)
    for name in "eb":
        memory.pull(name)
        assert sorted(on_disk(memory.at(name))) == ["built-on-it", "f", "second"]
        assert content(memory, name) == b"one"
    assert applied(memory.store, "main") == on_disk(memory.at("e"))
    assert [(entry.lane, entry.attempt) for entry in memory.log() if entry.superseded] == [("x", 0)]
    assert len(memory.log()) == 4


def test_a_superseded_change_is_no_ones_parent(memory: MemoryWorkspaces) -> None:
    attempts(memory)
    write(memory.at("c"), b"second", b"c")
    memory.push("c", lane="x", attempt=1)
    superseded = next(entry.id for entry in memory.log() if entry.superseded)
    memory.pull("e")
    write(memory.at("e"), b"last", b"e")
    report = memory.push("e")
    assert superseded not in next(entry.parents for entry in memory.log() if entry.id == report.id)
    assert applied(memory.store, str(report.digest)) == on_disk(memory.at("e"))


def test_a_superseded_change_that_nothing_was_built_on_is_no_ones_parent_either(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    for name, attempt in (("b", 0), ("c", 1)):
        memory.pull(name, lane="x", attempt=attempt)
        write(memory.at(name), b"new", b"try %d" % attempt)
        later = memory.push(name, lane="x", attempt=attempt).id
    assert memory.pull("d").frontier == [later]
    write(memory.at("d"), b"last", b"d")
    report = memory.push("d")
    assert memory.log()[0].parents == [later]
    assert len(memory.manifest(str(report.digest))["layers"]) == 3
    assert "dev.instep.dropped" not in memory.manifest(str(report.digest))["annotations"]


def test_the_past_leads_through_superseded_changes(memory: MemoryWorkspaces) -> None:
    """What a writer saw by way of a change that was replaced later is no conflict, though its layer left head."""
    attempts(memory)
    write(memory.at("d"), b"f", b"settled")
    memory.push("d", lane="d", attempt=0)
    write(memory.at("c"), b"second", b"c")
    memory.push("c", lane="x", attempt=1)
    assert len(memory.manifest("main")["layers"]) == 4
    report = memory.pull("e")
    assert (report.conflicts, content(memory, "e")) == ([], b"settled")


def test_at_a_change_that_was_built_on_a_superseded_one_gives_all_that_its_writer_had(
    memory: MemoryWorkspaces,
) -> None:
    attempts(memory)
    built = next(entry.id for entry in memory.log() if entry.lane == "d")
    write(memory.at("c"), b"second", b"c")
    memory.push("c", lane="x", attempt=1)
    memory.pull("e", at=built)
    assert unlike(snapshot(memory.at("d")), snapshot(memory.at("e"))) == {}


@pytest.mark.parametrize("what", ["deleted", "moved back"])
def test_a_head_that_is_behind_costs_no_reader_anything_and_the_next_push_mends_it(
    memory: MemoryWorkspaces, what: str
) -> None:
    history(memory, b"one")
    old = memory.store.pointers["main"]
    history(memory, b"two", b"three")
    if what == "deleted":
        del memory.store.pointers["main"]
    else:
        memory.store.pointers["main"] = old
    memory.pull("b")
    assert content(memory, "b") == b"three"
    memory.pull("c", repair=True)
    assert applied(memory.store, "main") == on_disk(memory.at("c")) == on_disk(memory.at("a"))
    if what == "deleted":
        del memory.store.pointers["main"]
    else:
        memory.store.pointers["main"] = old
    write(memory.at("b"), b"g", b"b")
    memory.push("b")
    assert applied(memory.store, "main") == on_disk(memory.at("b"))
    assert len(memory.log()) == 4


def test_repair_leaves_a_head_alone_that_lacks_nothing(memory: MemoryWorkspaces) -> None:
    history(memory, b"one", b"two")
    before, _ = memory.frozen()
    memory.pull("b", repair=True)
    assert memory.frozen()[0] == before


def test_a_layer_that_a_tool_encoded_anew_is_read_from_the_entry(memory: MemoryWorkspaces) -> None:
    """As a copy that asks for gzip does: the tables of contents are gone, diff_ids and history stay."""
    top = memory.at("a")
    write(top, b"big", noise(10_000))
    memory.push("a")
    before = history(memory, b"one")
    manifest = memory.manifest("main")
    for layer in manifest["layers"]:
        data = gzip.compress(unpacked(memory.store.blobs[layer["digest"]]), mtime=0)
        layer |= {"digest": memory.store.put_blob(data), "size": len(data)}
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        del layer["annotations"]
    memory.put("main", manifest)
    assert memory.pull("b").frontier == before
    assert len(memory.log()) == 2
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}


def test_what_is_not_there_any_more_is_said(memory: MemoryWorkspaces) -> None:
    history(memory, b"one", b"two")
    digest = memory.manifest("main")["layers"][0]["digest"]
    ids = [entry.id for entry in memory.log()]
    del memory.store.blobs[digest]
    with pytest.raises(IntegrityError, match="no such blob"):
        memory.pull("b", at=ids[-1])


def test_a_pull_of_an_image_by_digest_is_that_image(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    digest = memory.store.pointers["main"]
    history(memory, b"two")
    memory.pull("b", target=f"memory.test/team/ws@{digest}")
    assert content(memory, "b") == b"one"


def test_sparse_pulls_grow_and_shrink(memory: MemoryWorkspaces) -> None:
    top = memory.at("a")
    for path in (b"src/a.c", b"src/deep/b.c", b"doc/x", b"f"):
        write(top, path, path)
    memory.push("a")
    memory.pull("b", paths=(b"src/deep",))
    assert sorted(on_disk(memory.at("b"))) == ["src", "src/deep", "src/deep/b.c"]
    assert memory.status("b").sparse == ["src/deep"]
    memory.pull("b", paths=(b"src/*.c", b"doc"))
    assert sorted(on_disk(memory.at("b"))) == ["doc", "doc/x", "src", "src/a.c"]
    memory.pull("b")
    assert sorted(on_disk(memory.at("b"))) == ["doc", "doc/x", "src", "src/a.c"]
    memory.pull("b", paths=(b"**",))
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    assert memory.status("b").sparse == []
    assert memory.push("b").id is None


def test_local_changes_are_named_and_only_force_discards_them(memory: MemoryWorkspaces) -> None:
    top = memory.at("a")
    for number in range(9):
        write(top, b"f%d" % number, b"%d" % number)
    memory.push("a")
    memory.pull("b")
    for number in range(8):
        write(memory.at("b"), b"f%d" % number, b"changed")
    write(top, b"f0", b"a's")
    memory.push("a")
    before, disk = memory.frozen("b"), snapshot(memory.at("b"))
    with pytest.raises(DivergedError, match=r"local changes \(f0, f1, f2, f3, f4 and 3 more\).*--force"):
        memory.pull("b")
    assert memory.frozen("b") == before
    assert unlike(disk, snapshot(memory.at("b"))) == {}
    os.mkdir(memory.at("b") + b"/mine")
    write(memory.at("b"), b"mine/too", b"x")
    memory.pull("b", force=True)
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    assert memory.changed("b") == []


def test_what_changes_while_the_target_is_asked_is_not_overwritten(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine_files(memory)
    write(memory.at("a"), b"f0", b"a's")
    memory.push("a")
    ask = memory.store.get_manifest

    def slow(reference: str) -> object:
        time.sleep(0.1)  # enough for whoever looks at so few files meanwhile
        write(memory.at("b"), b"f0", b"mine")
        return ask(reference)

    monkeypatch.setattr(memory.store, "get_manifest", slow)
    with pytest.raises(DivergedError, match="local changes"):
        memory.pull("b")
    assert content(memory, "b", "f0") == b"mine"


def test_others_look_at_a_directory_that_is_up_to_date_while_the_target_is_asked(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine_files(memory)
    looked = []
    monkeypatch.setattr(
        "agent.sync.directory_scan.scan_directory._scan_part",
        lambda *args, real=scan_directory._scan_part, **named: (looked.append(args), real(*args, **named))[1],
    )
    ask = memory.store.get_manifest
    monkeypatch.setattr(memory.store, "get_manifest", lambda reference: (time.sleep(0.2), ask(reference))[1])
    assert memory.pull("b").written == 0
    assert looked == []
    write(memory.at("b"), b"f0", b"mine")
    with pytest.raises(DivergedError, match="local changes"):
        memory.pull("b")


def test_a_directory_that_someone_emptied_is_filled_again(memory: MemoryWorkspaces) -> None:
    history(memory, b"one")
    memory.pull("b")
    os.unlink(memory.at("b") + b"/f")
    memory.pull("b")
    assert content(memory, "b") == b"one"


@pytest.mark.parametrize("most", [0, 3, 1 << 20])
def test_a_pull_does_the_same_however_little_stays_in_memory(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Rows wait in a file and tables are read anew: of links, of what was touched, deleted and not selected, too."""
    monkeypatch.setattr("agent.sync.pull_steps.pull_directory.RowBuffer", partial(RowBuffer, most=most))
    monkeypatch.setattr("agent.sync.contents.toc_tables.CACHE_BYTES", most)
    top = memory.at("a")
    for number in range(9):
        write(top, b"d%d/f%d" % (number % 3, number), noise(2000, number))
    os.symlink(b"d0", top + b"/s")
    os.link(top + b"/d0/f0", top + b"/d1/name-of-0")
    memory.push("a")
    memory.pull("b")
    memory.pull("c", paths=(b"d1",))
    for path in (b"d0/f3", b"d2/f8"):
        os.unlink(top + b"/" + path)
    write(top, b"d1/f4", b"new")
    os.utime(top + b"/d1/f1", ns=(5, 5))
    memory.push("a")
    memory.pull("b")
    memory.pull("c", paths=(b"d1", b"s"))
    memory.pull("d")
    for name in "bd":
        assert unlike(snapshot(top), snapshot(memory.at(name))) == {}
        assert memory.status(name).differences == []
    assert sorted(on_disk(memory.at("c"))) == ["d1", "d1/f1", "d1/f4", "d1/f7", "d1/name-of-0", "s"]
    assert memory.status("c").differences == []
