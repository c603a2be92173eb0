"""What `status` tells of a directory, from what is remembered alone."""

from __future__ import annotations

import os

import pytest

from agent.core.spelling.reference import Reference
from agent.errors import DivergedError, WorkspaceError
from agent.store.port import Store
from agent.sync.commands.directory_status import status
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces

pytestmark = pytest.mark.usefixtures("parts")


def test_every_kind_of_change_is_told_with_what_changed(memory: MemoryWorkspaces) -> None:
    top = memory.at("a")
    for name in (b"content", b"gone", b"mode", b"time", b"kind", b"once", b"twice", b"same"):
        write(top, b"d/" + name, name)
    os.symlink(b"x", top + b"/d/link")
    os.setxattr(write(top, b"d/attributes", b"x"), "user.a", b"1")
    os.mkdir(top + b"/d/empty")
    memory.push("a")
    d = top + b"/d/"
    write(top, b"d/content", b"longer than before")
    os.unlink(d + b"gone")
    os.chmod(d + b"mode", 0o600)
    os.utime(d + b"time", ns=(1, 1))
    os.unlink(d + b"kind")
    os.mkdir(d + b"kind")
    os.unlink(d + b"link")
    os.symlink(b"y", d + b"link")
    os.setxattr(d + b"attributes", "user.a", b"2")
    os.rmdir(d + b"empty")
    os.unlink(d + b"twice")
    os.link(d + b"once", d + b"twice")
    write(top, b"new", b"new")
    write(top, b"d/same", b"same")
    found = {row.path: (row.mark, row.kind, set(row.details) - {"mtime"}) for row in memory.status("a").differences}
    assert found == {
        b"d/attributes": ("changed", "file", {"xattrs"}),
        b"d/content": ("changed", "file", {"content"}),
        b"d/empty": ("deleted", "dir", set()),
        b"d/gone": ("deleted", "file", set()),
        b"d/kind": ("changed", "dir", {"type"}),
        b"d/link": ("changed", "link", {"target"}),
        b"d/mode": ("changed", "file", {"mode"}),
        b"d/time": ("touched", "file", set()),
        b"d/same": ("touched", "file", set()),
        b"d/twice": ("changed", "file", {"content"}),
        b"new": ("added", "file", set()),
    }


def test_status_asks_the_target_nothing_and_writes_nothing(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"1")
    memory.push("a")
    write(memory.at("a"), b"g", b"1")

    def refuse(reference: Reference) -> Store:
        raise AssertionError("the target was asked")

    before = memory.state_of("a")
    report = status(memory.site("a")._replace(open_store=refuse))
    assert [(row.mark, row.path) for row in report.differences] == [("added", b"g")]
    assert (report.target, report.interrupted, len(report.frontier)) == (memory.target, False, 1)
    assert memory.state_of("a") == before


def test_status_of_a_directory_that_is_not_ours(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"1")
    with pytest.raises(DivergedError, match="not pulled or pushed by this program"):
        memory.status("a")


def test_status_of_another_directory_at_the_same_place(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"1")
    memory.push("a")
    os.rename(memory.at("a"), memory.at("a") + b"-moved")
    write(memory.at("a"), b"f", b"1")
    with pytest.raises(DivergedError, match="another directory or mount"):
        memory.status("a")


def test_status_of_a_directory_that_is_gone(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"1")
    memory.push("a")
    site = memory.site("a")
    os.rename(memory.at("a"), memory.at("a") + b"-moved")
    with pytest.raises(WorkspaceError, match="not a directory"):
        status(site)
