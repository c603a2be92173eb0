"""A state that is older than its directory, as one from a backup: it is noticed, and nothing is pushed of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from agent.core.model.entry import MARK
from agent.core.spelling.reference import parse_reference
from agent.errors import DivergedError
from agent.sync.commands.directory_status import status
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import on_disk
from tests.fakes.trees import snapshot, unlike
from tests.sync.test_another_directory import header, takes_marks

NEW = "memory.test/team/ws:new"
OLDER = "what is remembered of it is older than the last pull into it or push from it"


@pytest.fixture
def pulled(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a` and pulled into `b`."""
    if not takes_marks(memory.at("a")):
        pytest.skip("the file system takes no extended attributes")
    write(memory.at("a"), b"d/one", b"one")
    write(memory.at("a"), b"two", b"two")
    memory.push("a")
    memory.pull("b")
    return memory


def back_up(memory: MemoryWorkspaces) -> Callable[[], None]:
    """Copy all that is remembered of `b`; return what puts it back."""
    home, backup = memory.place / ".state-b", memory.place / "backup"
    shutil.copytree(home, backup)

    def put_back() -> None:
        shutil.rmtree(home)
        shutil.copytree(backup, home)

    return put_back


def pull_more(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"two", b"second")
    write(memory.at("a"), b"added", b"second")
    memory.push("a")
    memory.pull("b")


def push_more(memory: MemoryWorkspaces) -> None:
    write(memory.at("b"), b"two", b"mine")
    memory.push("b")


@pytest.mark.parametrize("since", [pull_more, push_more, lambda memory: (push_more(memory), pull_more(memory))])
def test_it_is_noticed_and_nothing_of_it_is_pushed(
    pulled: MemoryWorkspaces, since: Callable[[MemoryWorkspaces], object]
) -> None:
    put_back = back_up(pulled)
    pulled.pull("a")
    since(pulled)
    pulled.pull("a")
    write(pulled.at("a"), b"two", b"third")  # others go on: what is pushed as older would win over it
    pulled.push("a")
    put_back()
    before, disk = pulled.frozen("b"), snapshot(pulled.at("b"))
    for options in ({}, {"dry_run": True}, {"on_conflict": "fail"}, {"lane": "x", "attempt": 1}):
        with pytest.raises(DivergedError, match=f"{OLDER}, .*put the newer state back; or push it to another tag"):
            pulled.push("b", **options)
    with pytest.raises(DivergedError, match=rf"local changes \(.*\), and {OLDER}; .*copy what you need"):
        pulled.pull("b")
    report = pulled.status("b")
    assert report.outdated
    assert any(OLDER in text for text in pulled.notices)
    assert pulled.frozen("b") == before
    assert unlike(disk, snapshot(pulled.at("b"))) == {}


def test_the_remedies_work(pulled: MemoryWorkspaces) -> None:
    put_back = back_up(pulled)
    pull_more(pulled)
    write(pulled.at("b"), b"mine", b"mine")
    put_back()
    pulled.push("b", to=NEW)
    pulled.pull("z", target=NEW)
    assert unlike(snapshot(pulled.at("b")), snapshot(pulled.at("z"))) == {}
    assert not pulled.status("b").outdated
    pulled.pull("b", force=True)
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}
    assert not pulled.status("b").outdated


def test_the_newer_state_put_back_is_the_state_again(pulled: MemoryWorkspaces) -> None:
    put_back = back_up(pulled)
    pull_more(pulled)
    newest = (pulled.place / ".state-b" / "state").read_bytes()
    put_back()
    assert pulled.status("b").outdated
    (pulled.place / ".state-b" / "state").write_bytes(newest)
    assert not pulled.status("b").outdated
    assert pulled.push("b").id is None


def test_an_older_state_that_fits_after_all_is_the_newest_again_after_a_pull(pulled: MemoryWorkspaces) -> None:
    first = pulled.log()[0].id
    pull_more(pulled)
    pulled.pull("b", at=first)
    put_back = back_up(pulled)
    pulled.pull("b")
    pulled.pull("b", at=first)  # as it was, but for the mark and the times
    put_back()
    assert pulled.status("b").outdated
    pulled.pull("b", at=first)
    assert not pulled.status("b").outdated
    write(pulled.at("b"), b"new", b"new")
    assert pulled.push("b").id


def test_a_directory_put_back_with_its_attributes_is_noticed_too(pulled: MemoryWorkspaces) -> None:
    """As by a roll-back of the file system: what was pulled since would be pushed as undone."""
    mark = os.getxattr(pulled.at("b"), MARK)
    old = {path: row[2] for path, row in on_disk(pulled.at("b")).items() if row[0] == "file"}
    pull_more(pulled)
    os.unlink(pulled.at("b") + b"/added")
    for path, content in old.items():
        write(pulled.at("b"), path.encode(), content)
    os.setxattr(pulled.at("b"), MARK, mark)
    with pytest.raises(DivergedError, match=OLDER):
        pulled.push("b")


@pytest.mark.parametrize(
    "since",
    [
        lambda memory: None,
        lambda memory: memory.pull("b"),
        lambda memory: memory.push("b"),
        lambda memory: memory.status("b"),
        lambda memory: write(memory.at("b"), b"two", b"mine"),
        lambda memory: os.chmod(memory.at("b"), 0o700),
    ],
)
def test_a_state_that_lacks_nothing_is_no_older_one(
    pulled: MemoryWorkspaces, since: Callable[[MemoryWorkspaces], object]
) -> None:
    put_back = back_up(pulled)
    since(pulled)
    put_back()
    assert not pulled.status("b").outdated
    write(pulled.at("b"), b"new", b"new")
    assert pulled.push("b").id
    assert pulled.notices == []


def test_going_back_and_forth_is_no_older_state(pulled: MemoryWorkspaces) -> None:
    first = pulled.log()[0].id
    push_more(pulled)
    pulled.pull("b", at=first)
    write(pulled.at("b"), b"new", b"new")
    assert not pulled.status("b").outdated
    assert pulled.push("b").id
    pulled.pull("b")
    assert not pulled.status("b").outdated


def test_an_attempt_that_gives_up_what_the_earlier_one_pushed_is_no_older_state(pulled: MemoryWorkspaces) -> None:
    pulled.push("b", lane="x", attempt=0)  # nothing changed, so that the next pull changes nothing on the disk
    pulled.pull("b", lane="x", attempt=1)
    assert not pulled.status("b").outdated
    write(pulled.at("b"), b"new", b"new")
    assert pulled.push("b", lane="x", attempt=1).id


def test_two_states_that_push_to_two_targets_do_not_disturb_each_other(pulled: MemoryWorkspaces) -> None:
    """As `--state` makes possible."""
    one = pulled.site("b")
    other = one._replace(state=str(pulled.place / ".state-other"))
    for number in range(3):
        write(pulled.at("b"), b"f", b"%d" % number)
        assert push(one, PushOptions(lane="b")).id
        assert push(other._replace(target=parse_reference(NEW)), PushOptions(lane="b")).id
        assert not status(one).outdated
        assert not status(other).outdated


def test_a_pull_with_another_state_makes_this_one_the_older(pulled: MemoryWorkspaces) -> None:
    """What another user pulled into a directory that both use is not what this one changed."""
    write(pulled.at("a"), b"two", b"second")
    pulled.push("a")
    pull(pulled.site("b")._replace(state=str(pulled.place / ".state-other")), PullOptions(force=True))
    assert pulled.status("b").outdated
    with pytest.raises(DivergedError, match=OLDER):
        pulled.push("b")


@pytest.mark.parametrize("had_one", [True, False])
def test_a_push_that_died_after_it_marked_a_directory_leaves_no_older_state(
    pulled: MemoryWorkspaces, had_one: bool
) -> None:
    """A mark that was taken away comes back; one that could not be set before does not make the state an older one."""
    if not had_one:
        header(pulled, mark=None)
    os.removexattr(pulled.at("b"), MARK)
    write(pulled.at("b"), b"two", b"mine")

    def strike(name: str, subject: str) -> None:
        raise KeyboardInterrupt

    pulled.store.before = strike
    with pytest.raises(KeyboardInterrupt):
        pulled.push("b")
    pulled.store.before = None
    assert os.getxattr(pulled.at("b"), MARK)
    assert not pulled.status("b").outdated
    assert pulled.push("b").written == 1
    assert not pulled.status("b").outdated


def test_where_there_is_no_mark_it_cannot_be_noticed(pulled: MemoryWorkspaces) -> None:
    put_back = back_up(pulled)
    pull_more(pulled)
    put_back()
    os.removexattr(pulled.at("b"), MARK)
    assert not pulled.status("b").outdated
