"""Images that others made from ours and put at the target; heads that were lost (design, "Foreign heads")."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.image.foreign_layers import chain_ids
from agent.core.image.manifest import MANIFEST
from agent.core.model.record import FOREIGN_LANE
from agent.core.spelling.reference import parse_reference
from agent.errors import ConflictError, IntegrityError, UnsafeArchiveError
from agent.sync.commands.read_target import log, ls
from agent.sync.commands.squash_command import SquashOptions, squash_target
from tests.fakes.contents import noise, write
from tests.fakes.edits import Editor
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, put_image, unpacked
from tests.fakes.trees import snapshot, unlike

Names = Mapping[str, bytes | str | None]
STRIPPED = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar_of(names: Names) -> bytes:
    """Return a tar as others write it, in the order of `names`: directories end in `/`, a str is a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in names.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mode, member.mtime = 0o644, 7
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.LNKTYPE, content
            elif content is not None:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def append(
    memory: MemoryWorkspaces, *layers: Names, source: str = "main", to: str = "main", history: bool = True
) -> list[str]:
    """Put layers on an image and the result at a tag, as `crane append` does; return the layers' chain ids."""
    manifest = copy.deepcopy(memory.manifest(source))
    config = copy.deepcopy(memory.config(manifest))
    for names in layers:
        tar = tar_of(names)
        data = gzip.compress(tar, mtime=0)
        manifest["layers"].append({"mediaType": STRIPPED, "digest": memory.store.put_blob(data), "size": len(data)})
        config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(tar).hexdigest())
        if history:
            config["history"].append({"created_by": "crane append"})
    if not history:
        del config["history"]
    put(memory, to, manifest, config)
    return list(chain_ids(config["rootfs"]["diff_ids"]))[-len(layers) :]


def put(memory: MemoryWorkspaces, tag: str, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    raw = json.dumps(config).encode()
    manifest["config"] = {**manifest["config"], "digest": memory.store.put_blob(raw), "size": len(raw)}
    memory.put(tag, manifest, MANIFEST)


def strip(memory: MemoryWorkspaces, tag: str, *, to: str, recompress: bool = True) -> None:
    """Copy an image as `skopeo copy --format v2s2 --dest-compress-format gzip` does: no annotation is left."""
    manifest = copy.deepcopy(memory.manifest(tag))
    config = memory.config(manifest)
    manifest.pop("annotations", None)
    for layer in manifest["layers"]:
        layer.pop("annotations", None)
        if recompress:
            data = b"".join(memory.store.read_blob(layer["digest"]))
            data = gzip.compress(unpacked(data), mtime=0)
            layer.update({"digest": memory.store.put_blob(data), "size": len(data), "mediaType": STRIPPED})
    put(memory, to, manifest, config)


def lanes(memory: MemoryWorkspaces, target: str | None = None) -> list[str]:
    return [entry.lane for entry in log(memory.store, parse_reference(target or memory.target)).changes]


def start(memory: MemoryWorkspaces) -> None:
    """Two changes, one after the other."""
    top = memory.at("a")
    write(top, b"d/kept", b"kept")
    write(top, b"d/gone", b"gone")
    write(top, b"e/one", b"1")
    write(top, b"lone", noise(5000))
    memory.push("a")
    write(top, b"later", b"later")
    os.unlink(top + b"/d/gone")
    write(top, b"d/gone", b"again")
    memory.push("a")


LAYER: Names = {
    "new/deep": b"new",  # no directory is listed for it
    "d/": None,
    "d/.wh.gone": b"",
    "e/": None,
    "e/.wh..wh..opq": b"",
    "e/two": b"2",
    "other-name": "lone",
    "later": b"changed",
}


def check_absorbed(memory: MemoryWorkspaces, name: str) -> None:
    tree = on_disk(memory.at(name))
    assert sorted(tree) == ["d", "d/kept", "e", "e/two", "later", "lone", "new", "new/deep", "other-name"]
    assert tree["later"][2] == b"changed"
    assert tree["other-name"][2] == tree["lone"][2] == noise(5000)
    top = memory.at(name)
    assert os.stat(top + b"/lone").st_ino == os.stat(top + b"/other-name").st_ino


@pytest.mark.parametrize("history", [True, False])
def test_a_layer_put_on_top_is_pulled_as_a_change_and_nothing_is_written(
    memory: MemoryWorkspaces, history: bool
) -> None:
    start(memory)
    append(memory, LAYER, history=history)
    before, _ = memory.frozen()
    memory.pull("b")
    check_absorbed(memory, "b")
    assert any("someone else put a layer on top" in text for text in memory.notices)
    assert lanes(memory) == [FOREIGN_LANE, "a", "a"]
    assert memory.push("b").id is None
    assert memory.frozen()[0] == before


def test_the_next_push_publishes_it_and_rebuilds_head(memory: MemoryWorkspaces) -> None:
    start(memory)
    (chain,) = append(memory, LAYER)
    memory.pull("b")
    write(memory.at("b"), b"own", b"own")
    report = memory.push("b")
    assert report.head_moved
    assert report.conflicts == []
    expected = hashlib.sha256(json.dumps(["foreign", chain], separators=(",", ":")).encode()).hexdigest()
    entries = log(memory.store, parse_reference(memory.target)).changes
    assert [(entry.lane, entry.id) for entry in entries][:2] == [("b", report.id), (FOREIGN_LANE, expected)]
    assert entries[0].parents == [expected]
    assert entries[1].parents == [entries[2].id]
    assert entries[1].stamp == entries[2].stamp + 1
    assert len(entries_of(memory.store)) == 4
    assert applied(memory.store, "main") == on_disk(memory.at("b"))
    del memory.store.pointers["main"]
    memory.pull("c")
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}
    assert memory.push("c").id is None


def test_a_push_that_did_not_see_it_merges_it(memory: MemoryWorkspaces) -> None:
    start(memory)
    memory.pull("b")
    append(memory, LAYER)
    write(memory.at("b"), b"own", b"own")
    write(memory.at("b"), b"d/gone", b"edited meanwhile")
    report = memory.push("b")
    assert report.head_moved
    assert [(conflict.path, conflict.kind) for conflict in report.conflicts] == [("d/gone", "delete")]
    memory.pull("c")
    tree = on_disk(memory.at("c"))
    assert tree["d/gone"][2] == b"edited meanwhile"
    assert {"own", "new/deep", "e/two", "other-name"} <= tree.keys()
    assert "e/one" not in tree
    assert applied(memory.store, "main") == tree


def test_several_layers_are_a_line_of_changes(memory: MemoryWorkspaces) -> None:
    start(memory)
    append(memory, LAYER, {"later": b"twice"}, {}, {})
    memory.pull("b")
    write(memory.at("b"), b"own", b"own")
    memory.push("b")
    entries = log(memory.store, parse_reference(memory.target)).changes
    assert [entry.lane for entry in entries] == ["b", *[FOREIGN_LANE] * 4, "a", "a"]
    assert all(newer.parents == [older.id] for newer, older in itertools.pairwise(entries))
    assert on_disk(memory.at("b"))["later"][2] == b"twice"
    assert applied(memory.store, "main") == on_disk(memory.at("b"))


def test_whoever_absorbs_it_absorbs_the_same(memory: MemoryWorkspaces) -> None:
    start(memory)
    append(memory, LAYER)
    foreign = memory.store.pointers["main"]
    for name in "bc":
        memory.pull(name)
        write(memory.at(name), name.encode(), b"own")
    memory.push("b")
    memory.store.pointers["main"] = foreign  # a late PUT of the one who put it there
    memory.push("c")
    memory.pull("d")
    assert {"b", "c", "new/deep"} <= on_disk(memory.at("d")).keys()
    assert sorted(lanes(memory)) == ["a", "a", "b", "c", FOREIGN_LANE]
    assert applied(memory.store, "main") == on_disk(memory.at("d"))


def test_repair_absorbs_it(memory: MemoryWorkspaces) -> None:
    start(memory)
    append(memory, LAYER)
    memory.pull("b", repair=True)
    assert len(entries_of(memory.store)) == 3
    assert applied(memory.store, "main") == on_disk(memory.at("b"))
    assert all("dev.instep.record" in layer["annotations"] for layer in memory.manifest("main")["layers"])


def test_what_was_pulled_from_it_can_be_pushed_elsewhere(memory: MemoryWorkspaces) -> None:
    start(memory)
    append(memory, LAYER)
    memory.pull("b")
    write(memory.at("b"), b"own", b"own")
    memory.push("b", to="memory.test/other/ws:copy")
    memory.pull("c", target="memory.test/other/ws:copy")
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}


def test_an_image_that_has_nothing_of_ours_is_left_alone_and_named(memory: MemoryWorkspaces) -> None:
    start(memory)
    memory.pull("b")
    digest = put_image(memory.store, "main", [{"other": b"x"}])
    write(memory.at("b"), b"own", b"own")
    with pytest.raises(ConflictError, match=digest) as caught:
        memory.push("b")
    assert caught.value.exit_code == 10
    assert "another tag" in caught.value.remedy
    assert memory.store.pointers["main"] == digest
    memory.pull("c")
    assert "own" in on_disk(memory.at("c"))
    assert "other" not in on_disk(memory.at("c"))


HOSTILE: dict[str, Names] = {
    "a path that leaves the root": {"../escaped": b"x"},
    "a hard link to nothing": {"link": "nowhere"},
    "a file above an entry": {"later/below": b"x"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_layer_that_cannot_be_kept_is_a_clear_error_and_costs_nobody_a_change(
    memory: MemoryWorkspaces, case: str
) -> None:
    start(memory)
    memory.pull("b")
    good = memory.store.pointers["main"]
    append(memory, HOSTILE[case])
    theirs = memory.store.pointers["main"]
    with pytest.raises((IntegrityError, UnsafeArchiveError)):
        memory.pull("c")
    assert on_disk(memory.at("c")) == {}
    assert not (memory.place / "escaped").exists()
    write(memory.at("b"), b"own", b"own")
    with pytest.raises(ConflictError, match=f"(?s){theirs}.*cannot be kept"):
        memory.push("b")
    assert memory.store.pointers["main"] == theirs
    memory.store.pointers["main"] = good
    memory.pull("c")
    assert "own" in on_disk(memory.at("c"))


@pytest.mark.parametrize("recompress", [True, False])
def test_a_copy_without_metadata_in_another_repository_is_whole(memory: MemoryWorkspaces, recompress: bool) -> None:
    start(memory)
    strip(memory, "main", to="copy", recompress=recompress)
    copied = "memory.test/team/ws:copy"
    for tag in entries_of(memory.store):
        del memory.store.pointers[tag]
    memory.pull("b", target=copied)
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    assert memory.changed("b") == []
    entries = log(memory.store, parse_reference(copied)).changes
    assert [(entry.lane, entry.written, entry.deleted) for entry in entries] == [("a", 2, 0), ("a", 6, 0)]
    assert len(list(ls(memory.store, parse_reference(copied), ()))) == 7
    write(memory.at("b"), b"own", b"own")
    memory.push("b", to=copied)
    memory.pull("c", target=copied)
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}
    assert applied(memory.store, "copy") == on_disk(memory.at("b"))


def test_a_copy_without_metadata_at_the_target_is_read_from_the_entries(memory: MemoryWorkspaces) -> None:
    start(memory)
    strip(memory, "main", to="main")
    memory.store.log.clear()
    memory.pull("b")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    write(memory.at("b"), b"own", b"own")
    assert memory.push("b").head_moved
    assert all("dev.instep.encoding" in layer["annotations"] for layer in memory.manifest("main")["layers"])


def test_a_base_by_itself_at_the_target_is_a_head_that_was_lost(memory: MemoryWorkspaces) -> None:
    put_image(memory.store, "main", [{"base": b"b"}, {"base2": b"b"}])
    first = memory.store.pointers["main"]
    memory.pull("a")
    write(memory.at("a"), b"x", b"x")
    memory.push("a")
    memory.pull("b")
    memory.store.pointers["main"] = first
    memory.pull("c")
    assert sorted(on_disk(memory.at("c"))) == ["base", "base2", "x"]
    write(memory.at("b"), b"y", b"y")
    assert memory.push("b").head_moved
    assert sorted(applied(memory.store, "main")) == ["base", "base2", "x", "y"]


def test_a_build_from_the_same_base_is_a_parallel_change(memory: MemoryWorkspaces) -> None:
    put_image(memory.store, "main", [{"base": b"b"}])
    put_image(memory.store, "built", [{"base": b"b"}, {"built": b"b"}])
    memory.pull("a")
    write(memory.at("a"), b"x", b"x")
    memory.push("a")
    memory.store.pointers["main"] = memory.store.pointers["built"]
    memory.pull("c")
    assert sorted(on_disk(memory.at("c"))) == ["base", "built", "x"]


@pytest.mark.parametrize("lost", ["deleted", "older", "first"])
def test_a_lost_head_is_whole_at_the_next_pull_and_rebuilt_by_the_next_push(
    memory: MemoryWorkspaces, lost: str
) -> None:
    heads = []
    for number in range(3):
        write(memory.at("a"), b"%d" % number, b"x")
        memory.push("a")
        heads.append(memory.store.pointers["main"])
    if lost == "deleted":
        assert memory.store.delete_manifest(heads[-1])  # by digest, as registries do
    else:
        memory.store.pointers["main"] = heads[1 if lost == "older" else 0]
    memory.pull("b")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    write(memory.at("b"), b"own", b"own")
    assert memory.push("b").head_moved
    assert applied(memory.store, "main") == on_disk(memory.at("b"))


@pytest.mark.parametrize("seed", range(6))
def test_any_history_survives_the_loss_of_its_tables_of_contents(memory: MemoryWorkspaces, seed: int) -> None:
    editor = Editor(memory.at("a"), random.Random(seed))
    for _ in range(4):
        editor.edit(12)
        memory.push("a")
    strip(memory, "main", to="copy")
    copied = "memory.test/team/ws:copy"
    memory.pull("b", target=copied)
    # A layer's tar does not tell of files of which the time alone changed.
    ours, theirs = (snapshot(memory.at(name), mtimes=False) for name in "ab")
    assert unlike(ours, theirs) == {}, editor.log
    assert memory.changed("b") == []
    Editor(memory.at("b"), random.Random(seed + 100)).edit(12)
    memory.push("b", to=copied)
    memory.pull("c", target=copied)
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}


def squash(memory: MemoryWorkspaces) -> None:
    assert squash_target(memory.site("s"), SquashOptions()).id is not None


def test_a_layer_put_on_a_squashed_head_is_absorbed(memory: MemoryWorkspaces) -> None:
    start(memory)
    squash(memory)
    append(memory, LAYER)
    memory.pull("b")
    check_absorbed(memory, "b")
    write(memory.at("b"), b"own", b"own")
    assert memory.push("b").head_moved
    assert lanes(memory) == ["b", FOREIGN_LANE, "a", "a"]
    assert applied(memory.store, "main") == on_disk(memory.at("b"))


def test_a_layer_that_came_before_a_squash_arrived_late_is_no_second_change(memory: MemoryWorkspaces) -> None:
    start(memory)
    append(memory, LAYER)
    foreign = memory.store.pointers["main"]
    memory.pull("b", repair=True)
    squash(memory)
    memory.store.pointers["main"] = foreign
    memory.pull("c")
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}
    write(memory.at("c"), b"own", b"own")
    assert memory.push("c").head_moved
    assert sorted(lanes(memory)) == ["a", "a", "c", FOREIGN_LANE]
    assert applied(memory.store, "main") == on_disk(memory.at("c"))


def test_a_copy_of_a_squash_that_lost_its_table_is_the_image_it_still_is(memory: MemoryWorkspaces) -> None:
    start(memory)
    squash(memory)
    write(memory.at("a"), b"after", b"after")
    memory.push("a")
    strip(memory, "main", to="copy")
    for tag in entries_of(memory.store):
        del memory.store.pointers[tag]
    copied = "memory.test/team/ws:copy"
    memory.pull("b", target=copied)
    assert any("history is lost" in text for text in memory.notices)
    ours, theirs = (snapshot(memory.at(name), directory_mtimes=False) for name in "ab")
    assert unlike(ours, theirs) == {}
    write(memory.at("b"), b"own", b"own")
    memory.push("b", to=copied)
    memory.pull("c", target=copied)
    assert unlike(snapshot(memory.at("b")), snapshot(memory.at("c"))) == {}
