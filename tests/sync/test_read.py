"""Looking into a workspace without pulling it: what is told, and how little is read for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.spelling.reference import Reference, parse_reference
from agent.errors import IntegrityError, MissingTargetError, UsageError
from agent.store.port import Store
from agent.sync.commands.read_target import cat, diff, log, ls
from tests.fakes.contents import noise, write
from tests.fakes.plain import put_image
from tests.fakes.workspaces import Workspaces

BIG = 12 << 20


@pytest.fixture(params=["layout", "registry"], scope="module")
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspaces]:
    """A workspace of one large layer and two small ones, pushed from `a`, kept in each kind of store; only read."""
    place, target = tmp_path_factory.mktemp("kept"), None
    if request.param == "registry":
        target = f"{request.getfixturevalue('registry')}/read/{place.name.replace('_', '-').lower()}:ws"
    made = Workspaces(place, target)
    top = made.at("a")
    write(top, b"large", noise(BIG))
    for number in range(300):
        write(top, b"many/%03d" % number, noise(200, number))
    os.link(top + b"/many/007", top + b"/name of 007")
    os.symlink(b"large", top + b"/link")
    made.push("a", message="all")
    write(top, b"many/001", b"changed")
    os.unlink(top + b"/many/002")
    os.utime(top + b"/many/003", ns=(5, 5))
    made.push("a", lane="run/task", attempt=1, annotations=(("k", "v"),))
    write(top, b"new", b"new")
    made.push("a", message="last")
    yield made
    made.close()


def opened(kept: Workspaces) -> tuple[Store, Reference]:
    """Return a store that nothing was asked of yet, and the target."""
    kept.close()
    reference = parse_reference(kept.target)
    return kept.open_store(reference), reference


def test_log_is_newest_first_with_counts(kept: Workspaces) -> None:
    entries = log(*opened(kept)).changes
    told = [(e.lane, e.attempt, e.message, e.written, e.deleted, e.touched, e.annotations) for e in entries]
    assert told == [
        ("a", None, "last", 1, 0, 0, {}),
        ("run/task", 1, "", 1, 1, 1, {"k": "v"}),
        ("a", None, "all", 304, 0, 0, {}),
    ]
    assert [entry.parents for entry in entries] == [[entries[1].id], [entries[2].id], []]
    assert entries[2].size > BIG


def test_ls_tells_what_stands_and_who_wrote_it(kept: Workspaces) -> None:
    store, reference = opened(kept)
    newest, second, first = (entry.id for entry in log(store, reference).changes)
    rows = {row.path: row for row in ls(store, reference, ())}
    assert len(rows) == 304
    assert list(rows) == sorted(rows)
    assert (rows[b"new"].change, rows[b"many/001"].change, rows[b"large"].change) == (newest, second, first)
    assert (rows[b"many/001"].size, rows[b"many/003"].mtime, rows[b"link"].target) == (7, 5, b"large")
    assert rows[b"name of 007"].group == rows[b"many/007"].group is not None
    assert [row.path for row in ls(store, reference, (b"many/00?", b"l*"))] == [
        *(b"large", b"link", b"many/000", b"many/001"),
        *(b"many/%03d" % number for number in range(3, 10)),
    ]
    assert len(list(ls(store, reference, (), at=first))) == 304
    assert b"many/002" in [row.path for row in ls(store, reference, (), at=first)]


@pytest.mark.parametrize("path", [b"many/250", b"name of 007", b"many/001"])
def test_cat_of_a_small_file_moves_little_of_a_large_layer(kept: Workspaces, path: bytes) -> None:
    store, reference = opened(kept)
    with open(os.path.join(kept.at("a"), path), "rb") as file:
        assert b"".join(cat(store, reference, path)) == file.read()
    assert store.traffic.received < BIG / 3


def test_ls_log_and_diff_move_tables_of_contents_alone(kept: Workspaces) -> None:
    for look in (
        lambda store, reference: list(ls(store, reference, ())),
        log,
        lambda store, reference: diff(store, reference, None, None),
    ):
        store, reference = opened(kept)
        look(store, reference)
        assert store.traffic.received < 150_000


def test_cat_gives_large_files_and_files_as_they_were(kept: Workspaces) -> None:
    store, reference = opened(kept)
    assert b"".join(cat(store, reference, b"/large")) == noise(BIG)
    first = log(store, reference).changes[-1].id
    assert b"".join(cat(store, reference, b"many/001", at=first[:10])) == noise(200, 1)


def test_cat_of_what_is_no_file_there(kept: Workspaces) -> None:
    store, reference = opened(kept)
    for path, words in ((b"nowhere", "no such path"), (b"many", "a dir, not a file"), (b"link", "a link, not a file")):
        with pytest.raises(UsageError, match=words):
            list(cat(store, reference, path))


def test_diff_between_any_two_points(kept: Workspaces) -> None:
    store, reference = opened(kept)
    newest, second, first = (entry.id for entry in log(store, reference).changes)
    last = [("added", b"new")]
    middle = [("changed", b"many/001"), ("deleted", b"many/002"), ("touched", b"many/003")]

    def told(old: str | None, new: str | None) -> list[tuple[str, bytes]]:
        return [(row.mark, row.path) for row in diff(store, reference, old, new)]

    assert told(None, None) == last
    assert told(None, newest) == last
    assert told(None, second[:12]) == middle
    assert told(first, None) == [*middle, *last]
    assert told(newest, newest) == []
    assert told(newest, second) == [("deleted", b"new")]
    assert len(told(None, first)) == 304
    with pytest.raises(UsageError, match="no change has this id"):
        told("f00d" * 16, None)


def test_a_digest_is_looked_into_as_it_is(workspaces: Workspaces) -> None:
    write(workspaces.at("a"), b"f", b"1")
    workspaces.push("a")
    digest = workspaces.pull("b").digest
    write(workspaces.at("a"), b"later", b"x")
    workspaces.push("a")
    store, reference = opened(workspaces)
    pinned = parse_reference(workspaces.target.rpartition(":")[0] + f"@{digest}")
    assert len(log(store, pinned).changes) == 1
    assert len(log(store, reference).changes) == 2
    assert [row.path for row in ls(store, pinned, ())] == [b"f"]
    assert b"".join(cat(store, pinned, b"f")) == b"1"
    assert [row.path for row in diff(store, pinned, None, None)] == [b"f"]


def test_an_image_of_others_is_looked_into_too(kept: Workspaces) -> None:
    store, reference = opened(kept)
    put_image(store, "other", [{"d/": None, "d/x": b"one", "y": b"y"}, {"d/": None, "d/.wh.x": b"", "z": b"two"}])
    other = parse_reference(str(reference).rpartition(":")[0] + ":other")
    assert [row.path for row in ls(store, other, ())] == [b"d", b"y", b"z"]
    assert b"".join(cat(store, other, b"z")) == b"two"
    assert [entry.lane for entry in log(store, other).changes] == ["base"]
    assert [row.path for row in diff(store, other, None, None)] == [b"d", b"y", b"z"]


def test_an_image_that_is_not_there(kept: Workspaces) -> None:
    store, reference = opened(kept)
    missing = parse_reference(str(reference).rpartition(":")[0] + ":missing")
    for look in (
        lambda: log(store, missing).changes,
        lambda: list(ls(store, missing, ())),
        lambda: list(cat(store, missing, b"x")),
        lambda: diff(store, missing, None, None),
    ):
        with pytest.raises(MissingTargetError, match=r"it holds nothing \(the nearest tag there: (ws|other)\)"):
            look()


def test_content_that_was_tampered_with_is_not_given_as_if_it_were_right(tmp_path: Path) -> None:
    made = Workspaces(tmp_path)
    write(made.at("a"), b"large", noise(BIG // 8))
    made.push("a", compression="none")
    layer = max((tmp_path / "layout" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[BIG // 16] ^= 1
    layer.chmod(0o600)
    layer.write_bytes(data)
    with pytest.raises(IntegrityError):
        list(cat(*opened(made), b"large"))
