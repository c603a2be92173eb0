"""A random user id, as on a hardened cluster: all but owners is kept, and that is said once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.contents import CASES, ROOT_ONLY, write
from tests.fakes.stranger import Stranger
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
HEAVY = {"regular files", "sparse files"}


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    yield made
    made.close()


def test_modes_and_times_are_kept_and_owners_are_not(stranger: Stranger) -> None:
    place = stranger.place
    (place / "a").mkdir()
    for name in sorted(CASES.keys() - ROOT_ONLY - HEAVY):
        CASES[name](os.fsencode(place / "a"))
    os.unlink(place / "a" / "modes" / "0")  # nobody but root could read that
    stranger.own(place)
    before = snapshot(place / "a", owners=False)
    target = f"oci:{place}/layout:ws"
    said = stranger.agent("push", target, place / "a").stderr
    assert "owner" not in said
    said = stranger.agent("pull", target, place / "b").stderr
    assert said.count("owners are not kept") == 1
    assert unlike(before, snapshot(place / "b", owners=False)) == {}
    for name in ("a", "b"):
        assert "nothing changed" in stranger.agent("status", place / name).stdout
        assert "nothing to push" in stranger.agent("push", target, place / name).stderr
    assert stranger.state.stat().st_uid == stranger.uid


def test_recorded_owners_outlive_a_writer_without_privilege(stranger: Stranger) -> None:
    here = Workspaces(stranger.place)
    write(here.at("a"), b"d/kept", b"kept")
    write(here.at("a"), b"d/changed", b"changed")
    os.chown(here.at("a") + b"/d/kept", 11, 12)
    os.chown(here.at("a") + b"/d/changed", 11, 12)
    os.chown(here.at("a") + b"/d", 13, 14)
    os.chmod(here.at("a") + b"/d/kept", 0o4755)
    here.push("a")
    stranger.own(stranger.place / "layout")
    theirs = stranger.place / "theirs"
    assert stranger.agent("pull", here.target, theirs).stderr.count("owners are not kept") == 1
    assert unlike(snapshot(here.at("a"), owners=False), snapshot(theirs, owners=False)) == {}
    (theirs / "d" / "changed").write_text("changed by them")
    (theirs / "d" / "new").write_text("new")
    os.chown(theirs / "d" / "new", stranger.uid, stranger.uid)
    stranger.agent("push", here.target, theirs)
    here.pull("b")
    owners = {path: row[1] for path, row in snapshot(here.at("b")).items()}
    assert owners == {b"d": (13, 14), b"d/changed": (11, 12), b"d/kept": (11, 12), b"d/new": (0, 0)}
    assert os.stat(here.at("b") + b"/d/kept").st_mode & 0o7777 == 0o4755
    here.close()


def test_read_only_directories_can_be_filled_and_emptied(stranger: Stranger) -> None:
    place, target = Path(stranger.place), f"oci:{stranger.place}/layout:ws"
    a = os.fsencode(place / "a")
    CASES["modes of directories"](a)
    stranger.own(place)
    stranger.agent("push", target, place / "a")
    stranger.agent("pull", target, place / "b")
    os.unlink(a + b"/directories/555/file")
    os.rmdir(a + b"/directories/500/below")
    write(a, b"directories/555/new", b"new")
    stranger.own(place / "a")
    stranger.agent("push", target, place / "a")
    stranger.agent("pull", target, place / "b")
    assert unlike(snapshot(place / "a", owners=False), snapshot(place / "b", owners=False)) == {}


def test_a_new_name_of_a_file_keeps_the_recorded_owner(stranger: Stranger) -> None:
    place, target = stranger.place, f"oci:{stranger.place}/layout:ws"
    (place / "a").mkdir()
    write(os.fsencode(place / "a"), b"file", b"owned")
    os.chown(place / "a" / "file", 7, 8)
    shared = Workspaces(place, target)
    shared.push("a")
    stranger.own(place)
    stranger.agent("pull", target, place / "b")
    os.link(place / "b" / "file", place / "b" / "0")
    stranger.agent("push", target, place / "b")
    shared.pull("c")
    assert {(os.stat(place / "c" / name).st_uid, os.stat(place / "c" / name).st_gid) for name in ("0", "file")} == {
        (7, 8)
    }


def test_what_the_file_system_keeps_for_root_is_named_with_a_way_out(stranger: Stranger) -> None:
    place = stranger.place
    (place / "volume" / "ws").mkdir(parents=True)
    (place / "volume" / "ws" / "file").write_text("f")
    stranger.own(place)
    (place / "volume" / "lost+found").mkdir(mode=0o700)
    said = stranger.agent("push", f"oci:{place}/layout:ws", place / "volume", exits=40).stderr
    assert "lost+found: cannot be read" in said
    assert "a directory beside it" in said and "subPath" in said
    stranger.agent("push", f"oci:{place}/layout:ws", place / "volume" / "ws")
