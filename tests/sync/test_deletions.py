"""What is taken away, replaced or moved arrives too, in every order, and costs what it should (design, "Layers")."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import DivergedError
from agent.store import StoreOptions, open_store
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.target import Target
from tests.fakes.contents import noise, write
from tests.fakes.trees import Tree, snapshot, unlike
from tests.fakes.workspaces import Workspaces

pytestmark = pytest.mark.usefixtures("parts")


def make(top: bytes) -> None:
    """What every case starts from."""
    write(top, b"keep/file", b"keep")
    write(top, b"d/one", b"one")
    write(top, b"d/two", noise(700))
    write(top, b"d/sub/deep/three", b"three")
    write(top, b"d-beside", b"beside")  # sorts between d and d/one
    write(top, b"f", b"file")
    write(top, b"hard/1", b"linked")
    os.link(top + b"/hard/1", top + b"/hard/2")
    os.link(top + b"/hard/1", top + b"/keep/3")
    write(top, b"lone", b"lone")
    os.symlink(b"d", top + b"/link")
    os.mkfifo(top + b"/pipe")
    os.makedirs(top + b"/empty/er")


class Case(NamedTuple):
    """`whiteouts` are the names that the layer's tar must hold them for, in order."""

    act: Callable[[bytes], object]
    whiteouts: list[bytes]
    written: int


def remove(top: bytes, path: bytes) -> None:
    place = os.path.join(top, path)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        os.unlink(place)


def swap(top: bytes, path: bytes, make: Callable[[bytes], object]) -> None:
    remove(top, path)
    make(os.path.join(top, path))


def break_link(top: bytes) -> None:
    shutil.copy2(top + b"/hard/2", top + b"/hard/new")
    os.rename(top + b"/hard/new", top + b"/hard/2")


def make_again(top: bytes) -> None:
    shutil.rmtree(top + b"/d")
    write(top, b"d/other", b"other")
    write(top, b"d/one", b"one, newly written")


def empty(top: bytes) -> None:
    for name in os.listdir(top):
        remove(top, name)


def put(place: bytes, content: bytes) -> None:
    with open(place, "xb") as file:
        file.write(content)


def fill(place: bytes) -> None:
    write(place, b"x/y", b"inside")


def _change_places(top: bytes) -> None:
    os.rename(top + b"/d", top + b"/t")
    os.rename(top + b"/hard", top + b"/d")
    os.rename(top + b"/t", top + b"/hard")


CASES = {
    "a file": Case(lambda top: remove(top, b"f"), [b"f"], 0),
    "a file in a directory": Case(lambda top: remove(top, b"d/one"), [b"d/one"], 0),
    "a link": Case(lambda top: remove(top, b"link"), [b"link"], 0),
    "a fifo": Case(lambda top: remove(top, b"pipe"), [b"pipe"], 0),
    "a directory": Case(lambda top: remove(top, b"d"), [b"d"], 0),
    "a directory below one": Case(lambda top: remove(top, b"d/sub"), [b"d/sub"], 0),
    "an empty directory": Case(lambda top: remove(top, b"empty/er"), [b"empty/er"], 0),
    "all in a directory but not itself": Case(
        lambda top: [remove(top, b"d/" + name) for name in os.listdir(top + b"/d")],
        [b"d/one", b"d/sub", b"d/two"],
        0,
    ),
    "a directory becomes a file": Case(lambda top: swap(top, b"d", lambda p: put(p, b"now")), [], 1),
    "a directory becomes a link": Case(lambda top: swap(top, b"d", lambda p: os.symlink(b"keep", p)), [], 1),
    "a directory becomes a fifo": Case(lambda top: swap(top, b"d", os.mkfifo), [], 1),
    "a file becomes a directory": Case(lambda top: swap(top, b"f", fill), [], 3),
    "a file becomes an empty directory": Case(lambda top: swap(top, b"f", os.mkdir), [], 1),
    "a link becomes a directory": Case(lambda top: swap(top, b"link", fill), [], 3),
    "a fifo becomes a directory": Case(lambda top: swap(top, b"pipe", fill), [], 3),
    "a file becomes a link": Case(lambda top: swap(top, b"f", lambda p: os.symlink(b"lone", p)), [], 1),
    "a file becomes a fifo": Case(lambda top: swap(top, b"f", os.mkfifo), [], 1),
    "a link becomes a file": Case(lambda top: swap(top, b"link", lambda p: put(p, b"x")), [], 1),
    "a fifo becomes a link": Case(lambda top: swap(top, b"pipe", lambda p: os.symlink(b"x", p)), [], 1),
    "a file becomes a link to its directory": Case(lambda top: swap(top, b"f", lambda p: os.symlink(b".", p)), [], 1),
    "a hard link is broken": Case(break_link, [], 1),
    "a hard link is taken away": Case(lambda top: remove(top, b"hard/2"), [b"hard/2"], 0),
    "all names of a file but one are taken away": Case(lambda top: remove(top, b"hard"), [b"hard"], 0),
    "a name is added to a file": Case(lambda top: os.link(top + b"/lone", top + b"/d/lone too"), [], 1),
    "a name is added to a group": Case(lambda top: os.link(top + b"/hard/2", top + b"/d/4"), [], 1),
    "a file becomes a name of another": Case(lambda top: swap(top, b"f", lambda p: os.link(top + b"/lone", p)), [], 1),
    "a file is renamed": Case(lambda top: os.rename(top + b"/f", top + b"/g"), [b"f"], 1),
    "a file is renamed over another": Case(lambda top: os.rename(top + b"/f", top + b"/lone"), [b"f"], 1),
    "a directory is renamed": Case(lambda top: os.rename(top + b"/d", top + b"/e"), [b"d"], 6),
    "a directory is moved below another": Case(lambda top: os.rename(top + b"/d", top + b"/empty/er/d"), [b"d"], 6),
    "a directory is made again": Case(make_again, [b"d/sub", b"d/two"], 2),
    "two directories change places": Case(
        _change_places,
        [b"d/one", b"d/sub", b"d/two", b"hard/1", b"hard/2"],
        7,
    ),
}


def newest_layer(workspaces: Workspaces) -> tarfile.TarFile:
    """Return the newest layer of head as its tar, read without any code of the agent's archive."""
    reference = parse_reference(workspaces.target)
    store = open_store(reference, StoreOptions())
    head = Target(lambda _: store, reference, this_platform(None)).head()
    assert head is not None
    layer = head.image.layers[-1]
    assert layer.media_type.endswith("+gzip")
    data = b"".join(store.read_blob(layer.digest))
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:gz", errors="surrogateescape")


def whiteouts(tar: tarfile.TarFile) -> list[bytes]:
    found = []
    for name in map(os.fsencode, tar.getnames()):
        above, _, last = name.rpartition(b"/")
        if last.startswith(b".wh."):
            found.append((above + b"/" if above else b"") + last[4:])
    return found


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", CASES)
def test_what_went_or_turned_into_something_else_arrives(workspaces: Workspaces, name: str) -> None:
    case = CASES[name]
    make(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("b")
    before = snapshot(workspaces.at("a"))
    case.act(workspaces.at("a"))
    report = workspaces.push("a", compression="gzip")
    after = snapshot(workspaces.at("a"))
    with newest_layer(workspaces) as tar:
        assert whiteouts(tar) == case.whiteouts
    assert report.written == case.written
    for there in ("b", "c"):  # on top of what stood there, and anew
        workspaces.pull(there)
        assert unlike(after, snapshot(workspaces.at(there))) == {}
        assert workspaces.changed(there) == []
        assert workspaces.push(there).id is None
    for there in ("b", "d"):  # and back again, on top of what came and anew
        workspaces.pull(there, at=workspaces.ids()[0])
        assert unlike(before, snapshot(workspaces.at(there))) == {}


def test_all_names_of_a_file_may_go_one_by_one(workspaces: Workspaces) -> None:
    make(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("b")
    for path in (b"hard/1", b"keep/3", b"hard/2"):
        remove(workspaces.at("a"), path)
        workspaces.push("a")
        workspaces.pull("b")
        assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}
    assert workspaces.push("b").id is None


def test_everything_gone_must_be_meant(workspaces: Workspaces) -> None:
    make(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("b")
    empty(workspaces.at("a"))
    with pytest.raises(DivergedError, match="--allow-empty"):
        workspaces.push("a")
    assert len(workspaces.ids()) == 1
    workspaces.push("a", allow_empty=True)
    for there in ("b", "c"):
        workspaces.pull(there)
        assert snapshot(workspaces.at(there)) == {}
    fill(workspaces.at("b"))
    workspaces.push("b")
    for there in ("a", "c"):
        workspaces.pull(there)
        assert unlike(snapshot(workspaces.at("b")), snapshot(workspaces.at(there))) == {}


def test_nothing_is_a_change_too_if_an_attempt_pushes_it(workspaces: Workspaces) -> None:
    report = workspaces.push("a", attempt=0)
    assert report.id is not None
    workspaces.pull("b")
    assert snapshot(workspaces.at("b")) == {}


SPARSE_EDITS: dict[str, Callable[[bytes], object]] = {
    "a file is changed": lambda top: put_over(top + b"/d/one", b"changed"),
    "a file is added": lambda top: write(top, b"d/new", b"new"),
    "a file is taken away": lambda top: remove(top, b"d/one"),
    "the directory is taken away": lambda top: remove(top, b"d"),
    "something is put outside": lambda top: write(top, b"other/x", b"x"),
    "a directory is renamed": lambda top: os.rename(top + b"/d", top + b"/e"),
}


def put_over(place: bytes, content: bytes) -> None:
    with open(place, "wb") as file:
        file.write(content)


@pytest.mark.sweep(5)
@pytest.mark.parametrize("glob", [b"d", b"d/one", b"d/*", b"**/one"])
@pytest.mark.parametrize("name", SPARSE_EDITS)
def test_a_sparse_workspace_changes_only_what_it_holds(workspaces: Workspaces, name: str, glob: bytes) -> None:
    make(workspaces.at("a"))
    write(workspaces.at("a"), b"z/one", b"another one")
    workspaces.push("a")
    workspaces.pull("s", paths=(glob,))
    whole, held = snapshot(workspaces.at("a")), snapshot(workspaces.at("s"))
    assert held.items() <= whole.items()
    assert workspaces.push("s").id is None
    SPARSE_EDITS[name](workspaces.at("s"))
    now = snapshot(workspaces.at("s"), directory_mtimes=False)
    workspaces.push("s", allow_empty=not now)
    assert workspaces.push("s").id is None
    workspaces.pull("a")
    there = snapshot(workspaces.at("a"), directory_mtimes=False)
    assert unlike(there, without_links_to_the_rest(there, now)) == {
        path: (row, None) for path, row in there.items() if path not in now
    }
    unheld = {path for path in whole if path not in held}
    still = {path for path in unheld if path in there}
    assert unheld - still == set(), "something went that the sparse workspace never held"
    gone = {path for path in held if path not in now}
    assert not {path for path in gone & there.keys() if not any(other.startswith(path + b"/") for other in unheld)}
    workspaces.pull("c")
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("c"))) == {}


def without_links_to_the_rest(whole: Tree, part: Tree) -> Tree:
    """Return `part` with each path's other names as the whole has them: a sparse workspace cannot show them all."""
    return {path: (*row[:-1], whole[path][-1] if path in whole else row[-1]) for path, row in part.items()}


@pytest.mark.parametrize("kind", ["same", "other", "directory"])
def test_a_sparse_workspace_may_write_over_what_it_never_held(workspaces: Workspaces, kind: str) -> None:
    make(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("s", paths=(b"keep",))
    if kind == "directory":
        fill(workspaces.at("s") + b"/f")
    else:
        write(workspaces.at("s"), b"f", b"file" if kind == "same" else b"other")
    workspaces.push("s")
    workspaces.pull("a")
    mine, theirs = snapshot(workspaces.at("s")), snapshot(workspaces.at("a"))
    assert {path: row for path, row in mine.items() if path.startswith(b"f")} == {
        path: row for path, row in theirs.items() if path == b"f" or path.startswith(b"f/")
    }
    assert b"d/one" in theirs


def test_a_sparse_workspace_that_becomes_whole(workspaces: Workspaces) -> None:
    make(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("s", paths=(b"hard/1",))
    workspaces.pull("s", paths=(b"**",))
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("s"))) == {}
    workspaces.pull("s", paths=(b"keep",))
    assert sorted(snapshot(workspaces.at("s"))) == [b"keep", b"keep/3", b"keep/file"]
    assert workspaces.push("s").id is None
