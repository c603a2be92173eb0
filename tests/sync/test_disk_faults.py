"""A disk that is full or broken, and too few descriptors, at each call in turn: nothing is left wrong (G8).

The many calls that may find a disk broken are taken in steps, longer ones in a plain run; with `INSTEP_SOAK` (see
`make soak`) it is each.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import DivergedError, UnavailableError, WorkspaceError
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import noise, write
from tests.fakes.killing import ALL, CHANGES, OPENING, Calls, limited_to, refused_at
from tests.fakes.small_disk import PAGE, fill_up, small_disk
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

pytestmark = [pytest.mark.usefixtures("parts"), pytest.mark.soak, pytest.mark.timeout(900 if SOAK else 120)]
REFUSALS = [
    pytest.param(errno.ENOSPC, CHANGES, 1 if SOAK else 3 if FULL else 15, id="full"),
    pytest.param(errno.EMFILE, OPENING, 1 if SOAK else 3 if FULL else 15, id="too many open files"),
    pytest.param(errno.EIO, ALL, 1 if SOAK else 9 if FULL else 45, id="broken"),
]
FEWER = 1 if FULL else 3
"""A plain run fills a disk up to every so many pages, and sets every so many limits; odd, since targets alternate."""
TOLD = {21, 40}
"""Exit codes that say where the trouble is: the images' place, or the workspace and its state."""


@pytest.fixture
def workspaces(place: Path) -> Workspaces:
    return Workspaces(place)


def fill(top: bytes) -> None:
    write(top, b"d/one", b"one")
    write(top, b"d/large", noise(70_000))
    os.link(top + b"/d/one", top + b"/two")
    os.symlink(b"d/one", top + b"/link")
    os.setxattr(top + b"/two", "user.note", b"x")
    os.mkfifo(top + b"/pipe")


def change(top: bytes, number: int) -> None:
    write(top, b"d/one", b"%d" % number)
    write(top, b"new-%d/file" % number, noise(3000, number))
    os.chmod(top + b"/pipe", 0o600 + number % 8)
    if number > 1:
        os.unlink(top + b"/new-%d/file" % (number - 2))
        os.rmdir(top + b"/new-%d" % (number - 2))


@pytest.mark.parametrize(("code", "calls", "step"), REFUSALS)
def test_a_push_refused_at_any_call_is_done_by_a_plain_rerun(
    workspaces: Workspaces, code: int, calls: Calls, step: int
) -> None:
    top = workspaces.at("a")
    fill(top)
    workspaces.push("a")
    workspaces.pull("z")
    at = first(step)
    number, struck = 0, True
    while struck:
        change(top, number)
        before, old, new = workspaces.ids(), snapshot(workspaces.at("z")), snapshot(top)
        site = workspaces.site("a")
        said = refused_at(at, code, calls, lambda site=site: push(site, PushOptions(lane="a")))
        which = f"call {at}: {said}"
        assert said.error is None or said.exit_code in TOLD, which
        ids = workspaces.ids()
        assert unlike(new, snapshot(top)) == {}, which
        assert ids[:-1] == before or (said.error is not None and ids == before), which
        workspaces.pull("z")
        assert unlike(new if ids != before else old, snapshot(workspaces.at("z"))) == {}, which
        workspaces.push("a")
        assert len(workspaces.ids()) == len(before) + 1, which
        assert workspaces.changed("a") == [], which
        workspaces.pull("z")
        assert unlike(new, snapshot(workspaces.at("z"))) == {}, which
        struck = said.struck
        number, at = number + 1, at + step
    print(f"{at - step} calls")
    assert at > 20
    assert not [name for name in os.listdir(workspaces.place / "layout") if "tmp" in name]


@pytest.mark.parametrize(("code", "calls", "step"), REFUSALS)
def test_a_pull_refused_at_any_call_is_done_by_a_plain_rerun(
    workspaces: Workspaces, code: int, calls: Calls, step: int
) -> None:
    top, here = workspaces.at("a"), workspaces.at("b")
    fill(top)
    workspaces.push("a")
    one = workspaces.ids()[0]
    change(top, 0)
    workspaces.push("a")
    trees = {}
    for to in (one, None):
        workspaces.pull("b", at=to)
        trees[to] = snapshot(here)
    at = first(step)
    to, struck = None, True
    while struck:
        to, begun = (None if to else one), to
        site = workspaces.site("b")
        said = refused_at(at, code, calls, lambda site=site, to=to: pull(site, PullOptions(at=to)))
        which = f"call {at}: {said}"
        assert said.error is None or said.exit_code in TOLD, which
        if said.error is None:
            assert unlike(trees[to], snapshot(here)) == {}, which
        if workspaces.status("b").interrupted:
            with pytest.raises(DivergedError, match="interrupted"):
                workspaces.push("b")
        else:
            assert unlike(trees[begun], snapshot(here)) == {} or workspaces.changed("b") == [], which
        workspaces.pull("b", at=to)
        assert unlike(trees[to], snapshot(here)) == {}, which
        assert workspaces.changed("b") == [], which
        struck = said.struck
        at += step
    print(f"{at - step} calls")
    assert at > 20


def squash(site: WorkspaceContext) -> None:
    squash_target(site, SquashOptions())


def pruned(site: WorkspaceContext) -> None:
    prune(site, PruneOptions(older_than=0))


@pytest.mark.skipif(not SOAK, reason="takes minutes; INSTEP_SOAK=seconds")
@pytest.mark.parametrize("tend", [squash, pruned])
@pytest.mark.parametrize(("code", "calls", "step"), REFUSALS)
def test_upkeep_refused_at_any_call_changes_nothing_that_anyone_sees(
    workspaces: Workspaces, code: int, calls: Calls, step: int, tend: Callable[[WorkspaceContext], None]
) -> None:
    top = workspaces.at("a")
    fill(top)
    workspaces.push("a")
    at = first(step)
    number, struck = 0, True
    while struck:
        change(top, number)
        workspaces.push("a")
        ids, tree = workspaces.ids(), snapshot(top)
        site = workspaces.site("-")
        said = refused_at(at, code, calls, lambda site=site: tend(site))
        which = f"call {at}: {said}"
        assert said.error is None or said.exit_code in TOLD, which
        for again in (True, False):
            workspaces.pull("z")
            assert unlike(tree, snapshot(workspaces.at("z"))) == {}, which
            assert workspaces.ids() == ids, which
            if again:
                tend(workspaces.site("-"))
        struck = said.struck
        number, at = number + 1, at + step
    print(f"{at - step} calls")
    assert at > 4


@pytest.mark.parametrize("full", ["workspace", "state", "both"])
def test_a_pull_onto_a_disk_that_fills_at_any_page_is_done_when_there_is_room(
    workspaces: Workspaces, place: Path, full: str
) -> None:
    top = workspaces.at("a")
    fill(top)
    workspaces.push("a")
    one = workspaces.ids()[0]
    change(top, 0)
    for number in range(30):
        write(top, b"small/%d" % number, b"%d" % number)
    workspaces.push("a")
    with small_disk(place / ("disk" if full == "workspace" else ".state-b"), "2m") as disk:
        if full != "state":
            (disk / "b").mkdir()
            os.symlink(disk / "b", place / "b")
        to, refused = one, True
        for pages in range(0, 400, FEWER):
            workspaces.pull("b", at=to)
            to = None if to else one
            filler = fill_up(disk, leave=pages * PAGE)
            refused = False
            try:
                workspaces.pull("b", at=to)
            except WorkspaceError as error:
                assert "No space left on device" in error.what
                refused = True
            filler.unlink()
            workspaces.pull("b", at=to)
            workspaces.pull("z", at=to)
            assert unlike(snapshot(workspaces.at("z")), snapshot(workspaces.at("b"))) == {}
            assert workspaces.changed("b") == []
            if not refused and to is None:
                break
        assert pages
        assert not refused


@pytest.mark.parametrize("full", ["layout", "state"])
def test_a_push_onto_a_disk_that_fills_at_any_page_is_done_when_there_is_room(
    workspaces: Workspaces, place: Path, full: str
) -> None:
    top = workspaces.at("a")
    with small_disk(place / ("layout" if full == "layout" else ".state-a"), "16m") as disk:
        fill(top)
        for number in range(30):
            write(top, b"small/%d" % number, b"%d" % number)
        workspaces.push("a")
        for number, pages in enumerate(range(0, 400, FEWER)):
            change(top, number)
            before, new = workspaces.ids(), snapshot(top)
            filler = fill_up(disk, leave=pages * PAGE)
            refused = None
            try:
                workspaces.push("a")
            except (WorkspaceError, UnavailableError) as error:
                assert "o space left" in error.what
                refused = error
            ids = workspaces.ids()
            assert ids[:-1] == before or (refused and ids == before)
            filler.unlink()
            workspaces.push("a")
            assert len(workspaces.ids()) == len(before) + 1
            workspaces.pull("z")
            assert unlike(new, snapshot(workspaces.at("z"))) == {}
            assert workspaces.changed("a") == []
            if not refused:
                break
        assert pages
        assert not refused


def test_too_low_a_limit_for_open_files_is_told_and_does_no_harm(workspaces: Workspaces) -> None:
    top = workspaces.at("a")
    fill(top)
    write(top, b"/".join([b"deep"] * 20) + b"/file", b"deep")
    workspaces.push("a")
    told = 0
    for number, limit in enumerate(range(0, 60, FEWER)):
        change(top, number)
        before = workspaces.ids()
        site = workspaces.site("a")
        said = limited_to(limit, lambda site=site: push(site, PushOptions(lane="a")))
        ids = workspaces.ids()
        assert ids[:-1] == before or (said.error and ids == before), said
        workspaces.push("a")
        assert len(workspaces.ids()) == len(before) + 1, said
        site = workspaces.site("b")
        again = limited_to(limit, lambda site=site: pull(site, PullOptions()))
        workspaces.pull("b")
        assert unlike(snapshot(top), snapshot(workspaces.at("b"))) == {}, again
        for each in (said, again):
            assert each.error is None or (each.exit_code in TOLD and "open files" in each.error), each
        told += bool(said.error) + bool(again.error)
        if not said.error and not again.error:
            break
    assert told > 5
    assert limit < 57


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("call", "code"),
    [("fsync", "EIO"), ("write", "ENOSPC"), ("rename", "EIO"), ("openat", "EMFILE"), ("read", "EIO")],
)
def test_the_system_itself_refuses_calls_of_a_real_process(
    workspaces: Workspaces, place: Path, call: str, code: str
) -> None:
    print(f"seed {SEED}")
    top, chance = workspaces.at("a"), random.Random(SEED)
    fill(top)
    workspaces.push("a")
    change(top, 0)
    done, trace = traced(workspaces, call)
    if done.returncode:
        pytest.skip("needs the right to trace processes")
    places = [number for number, line in enumerate(trace, 1) if os.fspath(place) in line]
    struck = 0
    for number, at in enumerate(places if SOAK else chance.sample(places, min(5, len(places))), 1):
        if struck and not SOAK:
            break
        change(top, number)
        before, new = workspaces.ids(), snapshot(top)
        done, trace = traced(workspaces, call, f"error={code}:when={at}")
        # A push calls more or less often than the one before: what is struck may be a module that it imports.
        here = any("(INJECTED)" in line and os.fspath(place) in line for line in trace)
        struck += here
        assert done.returncode in {0, *TOLD} or not here, done.stderr
        assert b"Traceback" not in done.stderr
        ids = workspaces.ids()
        assert ids[:-1] == before or (done.returncode and ids == before)
        workspaces.push("a")
        assert len(workspaces.ids()) == len(before) + 1
        workspaces.pull("z")
        assert unlike(new, snapshot(workspaces.at("z"))) == {}
    assert struck


def traced(workspaces: Workspaces, call: str, inject: str = "") -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """Push as a process of its own under strace; return what became of it, and that call in its first thread."""
    log = workspaces.place / "trace"
    command = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:{inject}"] if inject else []
    words = ["push", workspaces.target, os.fsdecode(workspaces.at("a")), "--lane", "a", "--quiet"]
    command += [sys.executable, "-m", "agent", *words, "--state", str(workspaces.place / ".state-a")]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parent.parent.parent, timeout=60)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return done, [line for line in lines if lines and line.split()[0] == lines[0].split()[0]]


def first(step: int) -> int:
    if step == 1:
        return 0
    print(f"seed {SEED}")
    return SEED % step
