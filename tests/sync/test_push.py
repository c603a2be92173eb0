"""What a push publishes, and what it leaves alone (design, "Words", "Changes", "Head" and "Protocol")."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.core.spelling.tags import mark_tag, pointer_tag
from agent.errors import ConflictError, DivergedError, IntegrityError, TagRefusedError, UsageError
from tests.fakes.contents import noise, write
from tests.fakes.killing import Killed
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, put_image
from tests.fakes.trees import snapshot, unlike

pytestmark = pytest.mark.usefixtures("parts")


def fill(memory: MemoryWorkspaces, name: str = "a") -> bytes:
    top = memory.at(name)
    write(top, b"src/main.c", b"int main;\n")
    write(top, b"src/big", noise(20_000))
    write(top, b"README", b"read me\n")
    os.symlink(b"README", top + b"/link")
    return top


def test_a_stamp_is_above_all_that_was_pulled_though_the_clock_runs_backwards(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.now = 2_000_000_000_000_000_000
    memory.push("a")
    memory.now = 1_000_000_000_000_000_000
    memory.pull("b")
    write(memory.at("b"), b"new", b"1")
    memory.push("b")
    write(memory.at("b"), b"new", b"2")
    memory.push("b")
    assert [entry.stamp - 2_000_000_000_000_000_000 for entry in memory.log()] == [2, 1, 0]


def test_a_stamp_is_the_clocks_where_that_is_larger(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.now = 1_000_000_000_000_000_000
    memory.push("a")
    memory.now += 5
    write(memory.at("a"), b"new", b"1")
    memory.push("a")
    assert [entry.stamp for entry in memory.log()] == [memory.now, memory.now - 5]


def test_a_stamp_is_above_those_of_superseded_changes_too(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    memory.pull("b")
    memory.pull("c")
    memory.now = 3_000_000_000_000_000_000
    write(memory.at("b"), b"out", b"first")
    memory.push("b", lane="x", attempt=0)
    memory.now = None
    write(memory.at("c"), b"out", b"second")
    memory.push("c", lane="x", attempt=1)
    memory.pull("d")
    write(memory.at("d"), b"more", b"d")
    later = memory.push("d").id
    assert next(entry.stamp for entry in memory.log() if entry.id == later) > 3_000_000_000_000_000_000


def test_an_id_is_the_hash_of_the_record_that_the_manifest_and_the_history_carry(memory: MemoryWorkspaces) -> None:
    fill(memory)
    first = memory.push("a", message="one\ntwo", annotations=(("team", "b\u00e4r"),))
    write(memory.at("a"), b"new", b"1")
    second = memory.push("a", attempt=3)
    manifest = memory.manifest("main")
    records = [layer["annotations"]["dev.instep.record"] for layer in manifest["layers"]]
    assert [hashlib.sha256(text.encode()).hexdigest() for text in records] == [first.id, second.id]
    assert [item["comment"] for item in memory.config(manifest)["history"]] == records
    one, two = map(json.loads, records)
    assert (one["parents"], two["parents"]) == ([], [first.id])
    assert (one["message"], one["annotations"], one["target"]) == ("one\ntwo", {"team": "b\u00e4r"}, "main")
    assert "attempt" not in one
    assert two["attempt"] == 3
    diff_ids = memory.config(manifest)["rootfs"]["diff_ids"]
    assert [one["diff_id"], two["diff_id"]] == diff_ids
    assert [layer["annotations"]["dev.instep.diff-id"] for layer in manifest["layers"]] == diff_ids


def _short(text: str, length: int) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


@pytest.mark.parametrize("attempt", [None, 2])
def test_entry_and_pointer_have_the_names_that_the_format_fixes(memory: MemoryWorkspaces, attempt: int | None) -> None:
    target = "memory.test/team/ws:Release.1_" + "x" * 60
    tag, lane = target.partition(":")[2], "-4f/Build+test@" + "y" * 200
    write(memory.at("a"), b"f", b"1")
    report = memory.push("a", to=target, lane=lane, attempt=attempt)
    slugs = "release-1_" + "x" * 20 + "." + "_4f-build-test-" + "y" * 15
    entry = f"{slugs}._e{_short(tag, 10)}{str(report.id)[:26]}"
    pointer = f"{slugs}._p{_short(tag, 10)}{_short(lane, 16)}"
    mark = {f"{slugs.partition('.')[0]}._m{_short(tag, 10)}"} if attempt else set()
    names = {tag, entry} | {f"{pointer}-{number}-0" for number in range(1 + (attempt or 0))}
    assert set(memory.store.tags()) == names | mark
    assert max(map(len, names | mark)) <= 110
    assert {memory.store.pointers[name] for name in names - {tag}} == {report.digest}
    said = memory.manifest(entry)["annotations"]
    assert (said["dev.instep.lane"], said["dev.instep.target"], said["dev.instep.change"]) == (lane, tag, report.id)
    head = memory.manifest(tag)["annotations"]
    assert head.keys() == said.keys() - {"dev.instep.lane", "dev.instep.attempt", "dev.instep.change"}
    assert head["dev.instep.view"] == said["dev.instep.view"]


def test_an_entry_holds_what_stood_on_its_writers_disk_and_nothing_more(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    memory.pull("b")
    write(memory.at("a"), b"from-a", b"a")
    memory.push("a")
    os.unlink(memory.at("b") + b"/README")
    write(memory.at("b"), b"from-b", b"b")
    report = memory.push("b")
    assert applied(memory.store, str(report.digest)) == on_disk(memory.at("b"))
    assert {"from-a", "from-b"} < applied(memory.store, "main").keys()


def test_deleting_head_by_its_digest_takes_no_entry_with_it(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    assert memory.store.delete_manifest(memory.store.pointers["main"])
    assert len(entries_of(memory.store)) == 1
    memory.pull("b")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}


def strip(memory: MemoryWorkspaces, what: str) -> None:
    """Put head again as tools leave it, and take the entries away."""
    manifest = memory.manifest("main")
    if what in ("descriptors", "all annotations"):
        for layer in manifest["layers"]:
            del layer["annotations"]
    if what in ("manifest", "all annotations"):
        del manifest["annotations"]
    if what == "history":
        config = memory.config(manifest)
        del config["history"]
        data = json.dumps(config).encode()
        manifest["config"] |= {"digest": memory.store.put_blob(data), "size": len(data)}
    memory.store.pointers.clear()
    memory.put("main", manifest)


@pytest.mark.parametrize("what", ["descriptors", "manifest", "all annotations", "history"])
def test_metadata_stands_twice_so_that_either_may_be_lost(memory: MemoryWorkspaces, what: str) -> None:
    top = fill(memory)
    memory.push("a", message="first")
    os.unlink(top + b"/README")
    memory.push("a", lane="x", attempt=0)
    before = memory.log()
    strip(memory, what)
    assert memory.log() == before
    memory.pull("b")
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    write(memory.at("b"), b"more", b"b")
    memory.push("b")
    memory.pull("a")
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    assert [entry.id for entry in memory.log()][1:] == [entry.id for entry in before]


def test_a_push_of_nothing_publishes_nothing(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    before, _ = memory.frozen()
    memory.store.log.clear()
    report = memory.push("a")
    assert (report.id, report.digest, report.written, report.paths) == (None, None, 0, 5)
    assert memory.frozen()[0] == before
    assert memory.store.log == [("get_manifest", "main")], "it is there, and has it all"


def test_a_push_of_nothing_with_an_attempt_publishes_an_empty_change(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    memory.pull("b")
    first = memory.push("b", lane="x", attempt=0)
    second = memory.push("b", lane="x", attempt=1)
    assert first.id and second.id and first.id != second.id
    assert [(entry.lane, entry.written) for entry in memory.log()] == [("x", 0), ("x", 0), ("a", 5)]
    memory.pull("c")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("c"))) == {}


def test_a_dry_run_tells_and_writes_nothing(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    report = memory.push("a", dry_run=True)
    assert (report.id, report.dry_run, report.written) == (None, True, 5)
    assert memory.frozen("a") == (({}, {}, {}), {})
    memory.push("a")
    os.unlink(top + b"/README")
    write(top, b"src/main.c", b"changed")
    before = memory.frozen("a")
    report = memory.push("a", dry_run=True, attempt=4)
    assert (report.written, report.deleted, report.id) == (1, 1, None)
    assert memory.frozen("a") == before


def test_a_push_to_another_target_takes_all_layers_along(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    memory.push("a")
    write(top, b"src/main.c", b"second")
    memory.push("a")
    before, _ = memory.frozen()
    write(top, b"new", b"1")
    other = "memory.test/other:copy"
    memory.push("a", to=other)
    assert memory.frozen()[0] == before
    memory.pull("b", target=other)
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    copied = memory.open_store(parse_reference(other))
    assert applied(copied, "copy") == on_disk(top)
    assert memory.push("a", to=other).id is None
    # From now on that is its target: the first has moved on without it.
    with pytest.raises(DivergedError, match="already holds a workspace"):
        memory.push("a")


def test_a_target_that_someone_else_began_is_refused(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    write(memory.at("b"), b"mine", b"b")
    before = memory.frozen("b")
    with pytest.raises(DivergedError, match="was not pulled from it"):
        memory.push("b")
    assert memory.frozen("b") == before


def test_a_digest_is_no_target_to_push_to(memory: MemoryWorkspaces) -> None:
    fill(memory)
    report = memory.push("a")
    write(memory.at("a"), b"new", b"1")
    before = memory.frozen("a")
    with pytest.raises(UsageError, match="a digest never changes"):
        memory.push("a", to=f"memory.test/team/ws@{report.digest}")
    assert memory.frozen("a") == before


def test_annotations_stand_on_entry_head_and_log(memory: MemoryWorkspaces) -> None:
    fill(memory)
    report = memory.push("a", annotations=(("org.opencontainers.image.revision", "4f3"), ("b", "=")))
    for reference in ("main", str(report.digest)):
        said = memory.manifest(reference)["annotations"]
        assert (said["org.opencontainers.image.revision"], said["b"]) == ("4f3", "=")
    assert memory.log()[0].annotations == {"org.opencontainers.image.revision": "4f3", "b": "="}
    write(memory.at("a"), b"new", b"1")
    memory.push("a")
    assert "b" not in memory.manifest("main")["annotations"]


def refuse_moves(memory: MemoryWorkspaces, matching: str) -> None:
    """Let no tag that matches move, as registries with immutable tags do."""

    def before(name: str, subject: str) -> None:
        if name == "put_manifest" and re.search(matching, subject) and subject in memory.store.pointers:
            raise TagRefusedError("the tag is immutable", subject=subject, remedy="name another")

    memory.store.before = before


def test_a_head_that_may_not_move_is_a_warning_and_readers_merge(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    memory.push("a")
    refuse_moves(memory, "^main$")
    head = memory.store.pointers["main"]
    write(top, b"new", b"1")
    report = memory.push("a")
    assert report.id
    assert not report.head_moved
    assert any("immutable" in text for text in memory.notices)
    assert memory.store.pointers["main"] == head
    assert memory.push("a").id is None
    memory.pull("b")
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}


@pytest.mark.parametrize("attempt", [None, 0, 2])
def test_where_no_tag_moves_every_push_is_found_by_name(memory: MemoryWorkspaces, attempt: int | None) -> None:
    top = fill(memory)
    memory.push("a")
    refuse_moves(memory, "")
    for content in (b"1", b"2", b"3"):
        write(top, b"new", content)
        assert memory.push("a", lane="x", attempt=attempt).id
    for tag in entries_of(memory.store):
        del memory.store.pointers[tag]
    memory.pull("b", after=("x",))
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}


def test_where_no_tag_moves_a_number_that_another_took_meanwhile_is_left_to_it(memory: MemoryWorkspaces) -> None:
    fill(memory)
    memory.push("a")
    refuse_moves(memory, "")
    refuse, done = memory.store.before, []
    pointer = pointer_tag("main", "x", 0, 0)

    def before(name: str, subject: str) -> None:
        if (name, subject) == ("put_manifest", pointer) and not done:
            done.append(subject)
            write(memory.at("b"), b"b", b"b")
            memory.push("b", lane="x", fresh=True)
        assert refuse is not None
        refuse(name, subject)

    memory.store.before = before
    write(memory.at("a"), b"new", b"1")
    memory.push("a", lane="x")
    assert {pointer, pointer_tag("main", "x", 0, 1), mark_tag("main")} <= memory.store.pointers.keys()


def test_a_head_of_someone_else_is_left_alone_and_the_change_counts(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    memory.push("a")
    theirs = put_image(memory.store, "main", [{"other": b"x"}])
    for content in (b"1", b"2"):
        write(top, b"new", content)
        with pytest.raises(ConflictError, match=f"(?s){theirs}.*someone else.*--repair"):
            memory.push("a")
        assert memory.store.pointers["main"] == theirs
        assert memory.changed("a") == []
    assert len(entries_of(memory.store)) == 3
    assert memory.push("a").id is None
    memory.pull("b")
    assert any("someone else" in text for text in memory.notices)
    assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}
    memory.pull("c", repair=True)
    assert applied(memory.store, "main") == on_disk(top)


def test_something_else_at_an_entrys_tag_is_never_taken_for_the_entry(memory: MemoryWorkspaces) -> None:
    fill(memory)
    tags: list[str] = []

    def strike(name: str, subject: str) -> None:
        if name == "put_manifest":
            tags.append(subject)
            raise Killed

    memory.store.before = strike
    with pytest.raises(Killed):
        memory.push("a")
    memory.store.before = None
    # The same push again, while a stranger holds its tag.
    (tag,) = tags
    put_image(memory.store, tag, [{"other": b"x"}])
    with pytest.raises(IntegrityError, match="not the entry that its tag promises"):
        memory.push("a")
    assert "._e" in tag
    assert set(memory.store.pointers) == {tag}


def test_traffic_is_that_of_the_operation(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    first = memory.push("a")
    write(top, b"new", b"1")
    second = memory.push("a")
    assert first.traffic.sent > 20_000
    assert 0 < second.traffic.sent < first.traffic.sent - 5_000
    assert memory.pull("a").traffic.sent == 0


def test_a_sparse_pull_never_deletes_what_was_not_pulled(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    memory.push("a")
    report = memory.pull("b", paths=(b"src/**",))
    assert (sorted(on_disk(memory.at("b"))), report.unselected) == (["src", "src/big", "src/main.c"], 2)
    os.unlink(memory.at("b") + b"/src/big")
    write(memory.at("b"), b"src/new", b"n")
    write(memory.at("b"), b"README", b"written without having seen it\n")
    pushed = memory.push("b")
    assert (pushed.written, pushed.deleted) == (2, 1)
    memory.pull("a")
    assert sorted(on_disk(top)) == ["README", "link", "src", "src/main.c", "src/new"]
    assert on_disk(top)["README"][2] == b"written without having seen it\n"
    assert applied(memory.store, "main") == on_disk(top)


def test_everything_gone_must_be_said_to_be_meant(memory: MemoryWorkspaces) -> None:
    top = fill(memory)
    memory.push("a")
    for path, content in {**on_disk(top)}.items():
        if content[0] != "dir":
            os.unlink(os.path.join(top, os.fsencode(path)))
    os.rmdir(top + b"/src")
    before = memory.frozen("a")
    for options in ({}, {"dry_run": True}, {"attempt": 1}):
        with pytest.raises(DivergedError, match="everything in the directory is gone"):
            memory.push("a", **_any(options))
    assert memory.frozen("a") == before
    assert memory.push("a", allow_empty=True).deleted == 5
    memory.pull("b")
    assert on_disk(memory.at("b")) == {}


def _any(options: dict[str, Any]) -> dict[str, Any]:
    return options
