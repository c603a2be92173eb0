"""Whatever an image holds, nothing beside the workspace changes, and the end is one that is declared.

With `INSTEP_SOAK` set, every image in every order of its layers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import AgentError
from tests.fakes.contents import write
from tests.fakes.hostile_images import ORDERS, images
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import put_image
from tests.fakes.sentinel import Sentinel
from tests.fakes.soaking import FULL, SOAK
from tests.fakes.stranger import Stranger
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

REFUSED = {30, 31}
"""What is damaged or unsafe."""
IN_THE_WAY = {11, 31}
"""What stood in the directory before is not the agent's, or stands in the way."""
RARE = () if SOAK else (ORDERS[1], ORDERS[4])
NAMES = [name for name in images(b"/out") if not name.endswith(RARE)]


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Sentinel:
    return Sentinel(tmp_path_factory.mktemp("hostile"))


def end(act: Callable[[], object]) -> int:
    """Return the exit code of an operation; anything but a declared error is raised."""
    try:
        act()
    except AgentError as error:
        assert str(error).isprintable()
        assert error.subject and error.what and error.remedy
        return error.exit_code
    return 0


def place_links(top: bytes, out: bytes) -> None:
    """Make what a build may leave: links to elsewhere at names that images use."""
    for name in (b"d", b"a", b"escape", b"b"):
        os.symlink(out, os.path.join(top, name))
    for name in (b"x", b"y", b"fine", b"new"):
        os.symlink(out + b"/victim", os.path.join(top, name))


@pytest.mark.soak
@pytest.mark.sweep(5)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_beside_the_workspace_changes(sentinel: Sentinel, registry: str, name: str) -> None:
    out, own = os.fsencode(sentinel.path), f"ws-{NAMES.index(name)}"
    there = Workspaces(sentinel.place, f"{registry}/hostile/{own}:whole")
    put_image(there.open_store(parse_reference(there.target)), "whole", images(out)[name])
    ended = end(lambda: there.pull(own))
    assert ended in {0, *REFUSED}
    assert sentinel.changes() == {}
    # Where a workspace may begin, it is no error that some of them are not there.
    assert end(lambda: there.pull(f"{own}-sparse", paths=(b"d", b"**/new", b"x"), create=True)) in {0, ended}
    place_links(there.at(f"{own}-taken"), out)
    assert end(lambda: there.pull(f"{own}-taken", keep=True)) in {0, *IN_THE_WAY, *REFUSED}
    assert sentinel.changes() == {}
    assert end(lambda: there.pull(f"{own}-taken", force=True)) == ended
    there.close()
    assert sentinel.changes() == {}


@pytest.mark.soak
@pytest.mark.sweep(5)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(ORDERS[0])])
def test_a_layer_on_top_of_a_good_image_changes_nothing_either(
    sentinel: Sentinel, memory: MemoryWorkspaces, name: str
) -> None:
    top = memory.at("first")
    for path in (b"d/kept", b"d/victim", b"x", b"a/b/c", b"victim"):
        write(top, path, b"good")
    memory.push("first")
    memory.place = sentinel.place
    own = f"ws-on-{NAMES.index(name)}"
    memory.pull(own)
    ended = 0
    for layer in images(os.fsencode(sentinel.path))[name]:
        put_image(memory.store, "main", [layer], on="main")
        ended = end(lambda: memory.pull(own))
        assert ended in {0, *REFUSED}
        assert sentinel.changes() == {}
    if not ended:
        write(memory.at(own), b"more", b"more")
        assert end(lambda: memory.push(own)) == 0
        memory.pull(f"{own}-last")
        assert unlike(snapshot(memory.at(own)), snapshot(memory.at(f"{own}-last"))) == {}
    assert sentinel.changes() == {}


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    made = Stranger()
    yield made
    made.close()


def test_nothing_changes_for_a_user_without_privilege(stranger: Stranger) -> None:
    """All that lies beside the workspace is the user's own: no permission protects it."""
    sentinel = Sentinel(stranger.place, stranger.uid)
    out = os.fsencode(sentinel.path)
    here = Workspaces(stranger.place)
    found, names = images(out), NAMES[:: 1 if FULL else 5]
    store = here.open_store(parse_reference(here.target))
    for number, name in enumerate(names):
        put_image(store, f"t{number}", found[name])
    here.close()
    stranger.own(stranger.place / "layout")

    def pull(number: int) -> tuple[list[int], object]:
        target, own = f"{here.target.rpartition(':')[0]}:t{number}", f"ws-{number}"
        fresh = end(lambda: here.pull(own, target=target))
        place_links(here.at(f"{own}-taken"), out)
        kept = end(lambda: here.pull(f"{own}-taken", target=target, keep=True))
        forced = end(lambda: here.pull(f"{own}-taken", target=target, force=True))
        return [fresh, kept, forced], sentinel.changes()

    done = stranger.call(lambda: [pull(number) for number in range(len(names))])
    for name, (codes, changes) in zip(names, done, strict=True):
        assert set(codes) <= {0, *IN_THE_WAY, *REFUSED}, name
        assert changes == {}, name


@pytest.mark.parametrize("what", ["file", "link", "fifo"])
def test_a_second_name_outside_keeps_its_attributes(memory: MemoryWorkspaces, what: str) -> None:
    """Such as one in a copy made of hard links: only its count of names may change, and with that its ctime."""
    place = {name: os.path.join(memory.at(name), b"d/" + what.encode()) for name in ("a", "b")}
    write(memory.at("a"), b"d/file", b"content")
    os.symlink("anywhere", os.path.join(memory.at("a"), b"d/link"))
    os.mkfifo(os.path.join(memory.at("a"), b"d/fifo"))
    memory.push("a")
    memory.pull("b")
    outside = memory.place / "outside"
    os.link(place["b"], outside, follow_symlinks=False)
    before = os.lstat(outside)
    os.utime(place["a"], ns=(5, 10**18), follow_symlinks=False)
    if what != "link":
        os.chmod(place["a"], 0o4711)
    memory.push("a")
    memory.pull("b")
    after = os.lstat(outside)
    for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size"):
        assert getattr(after, field) == getattr(before, field)
    assert os.lstat(place["b"]).st_ino != before.st_ino
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    assert memory.changed("b") == []
