"""Only what changed is opened, sent and asked for (design, "Layers", "Protocol" and "State and scan")."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from agent.sync.operation.options import PullOptions
from agent.sync.pull_steps.pull_directory import pull
from tests.fakes.contents import noise, write
from tests.fakes.proxy import FaultProxy
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces, let_the_clock_tick

FILES = 40


def fill(top: bytes) -> None:
    for number in range(FILES):
        write(top, b"d%d/file-%d" % (number % 4, number), noise(3000, number))
    os.symlink(b"d0", top + b"/link")
    os.link(top + b"/d0/file-0", top + b"/d1/name-of-0")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The last names of all files of `fill` that were opened."""
    names: list[str] = []
    real = os.open

    def spy(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        name = os.path.basename(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if name.startswith(("file-", "name-")) and not flags & (os.O_CREAT | os.O_PATH):
            names.append(name)
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", spy)
    return names


@pytest.fixture
def pulled(workspaces: Workspaces) -> Workspaces:
    """A workspace of many files that was pushed from `a` and pulled into `b`, a tick ago."""
    fill(workspaces.at("a"))
    let_the_clock_tick()
    workspaces.push("a")
    workspaces.pull("b")
    let_the_clock_tick()
    # What a pull wrote is racy until the clock has ticked once and a scan has seen it since.
    workspaces.push("b")
    return workspaces


def test_a_pull_of_nothing_opens_what_the_last_one_wrote_only_once(pulled: Workspaces, opened: list[str]) -> None:
    """Each file may have changed within the tick of the clock in which it was written, however long the pull took."""
    early = pulled.site("c")._replace(clock=lambda: 1_000_000_000)  # everything was written after it
    pull(early, PullOptions())
    let_the_clock_tick()
    del opened[:]
    pulled.pull("c")
    assert len(set(opened)) >= FILES
    del opened[:]
    pulled.pull("c")
    assert opened == []


def test_a_push_opens_only_what_changed(pulled: Workspaces, opened: list[str]) -> None:
    write(pulled.at("b"), b"d2/file-2", b"changed")
    write(pulled.at("b"), b"d2/file-new", b"new")
    report = pulled.push("b")
    assert (report.written, report.deleted) == (2, 0)
    assert set(opened) == {"file-2", "file-new"}
    assert len(opened) <= 3
    assert report.layer_size < 3000


def test_a_push_of_nothing_opens_nothing(pulled: Workspaces, opened: list[str]) -> None:
    for name in ("a", "b"):
        assert pulled.push(name).id is None
    assert opened == []


def test_a_status_and_a_pull_open_nothing_that_stands(pulled: Workspaces, opened: list[str]) -> None:
    pulled.status("b")
    pulled.pull("b")
    assert opened == []


def test_what_was_written_within_the_clocks_tick_is_read_once_more(workspaces: Workspaces, opened: list[str]) -> None:
    fill(workspaces.at("a"))
    workspaces.push("a")
    let_the_clock_tick()
    assert workspaces.push("a").id is None  # reads what the first scan came too early for
    opened.clear()
    assert workspaces.push("a").id is None
    assert opened == []


def test_a_change_in_the_tick_of_the_push_is_not_missed(workspaces: Workspaces) -> None:
    for round_ in range(8):
        place = write(workspaces.at("a"), b"file", b"a%d" % round_)
        workspaces.push("a")
        about = os.stat(place)
        with open(place, "r+b") as file:
            file.write(b"b%d" % round_)
        os.utime(place, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert workspaces.push("a").written == 1


def test_a_touch_moves_no_content(workspaces: Workspaces, opened: list[str]) -> None:
    write(workspaces.at("a"), b"file-big", noise(2 << 20))
    workspaces.push("a")
    workspaces.pull("b")
    let_the_clock_tick()
    workspaces.push("b")
    os.utime(workspaces.at("a") + b"/file-big", ns=(1, 987_654_321_012))
    opened.clear()
    report = workspaces.push("a")
    assert (report.written, report.touched) == (0, 1)
    assert report.layer_size < 2000
    assert set(opened) == {"file-big"}
    opened.clear()
    pulled = workspaces.pull("b")
    assert pulled.traffic.received < 20_000
    assert opened == []
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_changes_whose_tars_are_equal_stay_apart(workspaces: Workspaces, compression: str) -> None:
    for name in (b"one", b"two"):
        write(workspaces.at("a"), name, name)
    workspaces.push("a")
    for name in (b"/one", b"/two"):
        os.utime(workspaces.at("a") + name, ns=(1, 5_000_000_005))
        assert workspaces.push("a", compression=compression).touched == 1
    workspaces.pull("b")
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


def test_mode_and_owner_alone_of_a_large_file_arrive_with_its_content(workspaces: Workspaces) -> None:
    write(workspaces.at("a"), b"file-big", noise(2 << 20))
    workspaces.push("a")
    workspaces.pull("b")
    os.chmod(workspaces.at("a") + b"/file-big", 0o600)
    workspaces.push("a")
    pulled = workspaces.pull("b")
    assert pulled.traffic.received < 20_000, "the content stands on the disk already"
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


def test_a_pull_fetches_only_what_is_lacking(workspaces: Workspaces) -> None:
    for number in range(8):
        write(workspaces.at("a"), b"big-%d" % number, noise(1 << 20, number))
    workspaces.push("a")
    workspaces.pull("b")
    write(workspaces.at("a"), b"small", b"small")
    workspaces.push("a")
    report = workspaces.pull("b")
    assert (report.written, report.layers_fetched, report.layers_skipped) == (1, 1, 1)
    assert report.traffic.received < 1 << 20


def test_a_sparse_pull_of_a_large_layer_fetches_ranges(workspaces: Workspaces) -> None:
    for number in range(32):
        write(workspaces.at("a"), b"big-%02d" % number, noise(1 << 20, number))
    workspaces.push("a")
    report = workspaces.pull("b", paths=(b"big-07",))
    assert os.listdir(workspaces.at("b")) == [b"big-07"]
    assert report.traffic.received < 10 << 20


def test_a_push_of_nothing_sends_nothing_to_a_registry(registry: str, tmp_path: Path) -> None:
    with FaultProxy(registry) as proxy:
        there = Workspaces(tmp_path, f"{proxy.address}/economy/{uuid.uuid4().hex}:ws")
        fill(there.at("a"))
        let_the_clock_tick()
        there.push("a")
        there.pull("b")
        proxy.seen.clear()
        for name in ("a", "b"):
            report = there.push(name)
            assert (report.id, report.traffic.sent) == (None, 0)
        assert [seen.method for seen in proxy.seen if seen.method not in ("GET", "HEAD")] == []
        there.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_agrees_that_only_what_changed_is_opened(pulled: Workspaces, tmp_path: Path) -> None:
    write(pulled.at("b"), b"d3/file-3", b"changed")
    let_the_clock_tick()
    log = tmp_path / "trace"
    command = [sys.executable, "-m", "agent", "push", pulled.target, str(tmp_path / "b")]
    subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=open,openat,openat2",
            "-o",
            str(log),
            *command,
            "--state",
            str(tmp_path / ".state-b"),
        ],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parent.parent.parent,
        timeout=60,
    )
    names = set(re.findall(r'"(?:[^"]*/)?((?:file|name)-[^"/]*)"', log.read_text(errors="replace")))
    assert names == {"file-3"}
