import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import WorkspaceError
from agent.workspace.scan.watched_tree import PATHS_MAX, SettledChange
from agent.workspace.scan.watcher import Watcher

SETTLE = 0.15


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "d" / "e").mkdir(parents=True)
    return path


@pytest.fixture
def watcher(tree: Path) -> Iterator[Watcher]:
    with Watcher(os.fspath(tree)) as opened:
        yield opened


def rest(watcher: Watcher) -> SettledChange:
    found = watcher.wait(SETTLE, timeout=20)
    assert found is not None
    return found


def test_a_quiet_directory_is_no_news(watcher: Watcher) -> None:
    assert watcher.wait(0, timeout=0.2) is None


def test_reading_is_no_change(watcher: Watcher, tree: Path) -> None:
    (tree / "d" / "f").write_text("x")
    rest(watcher)
    (tree / "d" / "f").read_text()
    os.listdir(tree / "d")
    assert watcher.wait(0, timeout=0.2) is None


def test_every_kind_of_change_is_noticed(watcher: Watcher, tree: Path) -> None:
    file = tree / "d" / "e" / "f\udcff"
    steps = [
        lambda: file.write_text("x"),
        lambda: file.write_text("y"),
        lambda: file.chmod(0o600),
        lambda: os.utime(file, ns=(1, 1)),
        lambda: os.link(file, tree / "linked"),
        lambda: file.rename(tree / "d" / "moved"),
        lambda: (tree / "d" / "moved").unlink(),
        lambda: (tree / "d" / "e").rmdir(),
        lambda: (tree / "link").symlink_to("nowhere"),
    ]
    for step in steps:
        step()
        assert not rest(watcher).overflow


def test_paths_are_named(watcher: Watcher, tree: Path) -> None:
    (tree / "d" / "e" / "f\udcff").write_text("x")
    (tree / "top").write_text("x")
    assert {b"d/e/f\xff", b"top"} <= rest(watcher).paths


def test_rest_comes_only_after_the_last_change(watcher: Watcher, tree: Path) -> None:
    last, settle = 0.0, 3.0

    def work() -> None:
        nonlocal last
        for number in range(8):
            (tree / str(number)).touch()
            last = time.monotonic()
            time.sleep(settle / 50)

    worker = threading.Thread(target=work)
    worker.start()
    found = watcher.wait(settle, timeout=60)
    worker.join()
    assert found is not None
    assert time.monotonic() - last >= settle
    assert {b"0", b"7"} <= found.paths


def test_new_directories_are_watched_however_deep_they_came(watcher: Watcher, tree: Path, tmp_path: Path) -> None:
    (tree / "n1" / "n2" / "n3").mkdir(parents=True)
    (tmp_path / "outside" / "below").mkdir(parents=True)
    (tmp_path / "outside").rename(tree / "moved-in")
    (tree / "d").rename(tree / "n1" / "moved")
    rest(watcher)
    for directory in ("n1/n2/n3", "moved-in/below", "n1/moved/e"):
        (tree / directory / "file").touch()
        assert f"{directory}/file".encode() in rest(watcher).paths


def test_links_are_not_watched_through(watcher: Watcher, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tree / "link").symlink_to(tmp_path / "outside")
    rest(watcher)
    (tmp_path / "outside" / "file").touch()
    assert watcher.wait(0, timeout=0.2) is None


def test_directories_beyond_path_max_are_watched(tree: Path) -> None:
    with Watcher(os.fspath(tree)) as watcher:
        fd = os.open(tree, os.O_RDONLY)
        for _ in range(30):
            os.mkdir("x" * 200, dir_fd=fd)
            below = os.open("x" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        rest(watcher)
        os.mknod("file", dir_fd=fd)
        os.close(fd)
        assert b"/".join([b"x" * 200] * 30) + b"/file" in rest(watcher).paths


def test_an_overflow_of_the_kernels_queue_is_reported_and_survived(watcher: Watcher, tree: Path) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events") as limit:
        burst = int(limit.read()) // 2 + 2000
    if burst > 40_000:
        pytest.skip("the queue is too long here to be filled in a test")
    watcher._tree._lock.acquire()  # the reader stalls at its next event
    try:
        (tree / "stall").touch()
        for number in range(burst):
            name = tree / f"{number}"
            name.touch()
            name.unlink()
        (tree / "missed" / "below").mkdir(parents=True)
    finally:
        watcher._tree._lock.release()
    found = rest(watcher)
    while not found.overflow:  # a busy machine pauses while it reads the queue, and that looks like rest
        found = rest(watcher)
    assert len(found.paths) <= PATHS_MAX + 1
    (tree / "missed" / "below" / "file").touch()
    after = rest(watcher)
    assert (after.overflow, b"missed/below/file" in after.paths) == (False, True)


def test_stop_ends_the_wait_from_a_signal_handler(watcher: Watcher) -> None:
    handler = signal.signal(signal.SIGUSR1, lambda *_: watcher.stop())
    kill = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -USR1 {os.getpid()}"])
    try:
        assert watcher.wait(SETTLE, timeout=20) is None
        assert watcher.wait(SETTLE, timeout=20) is None
    finally:
        kill.wait()
        signal.signal(signal.SIGUSR1, handler)


def test_a_directory_that_goes_is_an_error(watcher: Watcher, tree: Path) -> None:
    tree.rename(tree.parent / "elsewhere")
    with pytest.raises(WorkspaceError, match="cannot be watched any more"):
        watcher.wait(SETTLE, timeout=20)


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        with pytest.raises(WorkspaceError, match="not a directory"):
            Watcher(os.fspath(tmp_path / name))


def test_a_watchdog_that_hides_overflows_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchdog.observers import inotify_c

    monkeypatch.delattr(inotify_c.WatchCallback, "on_queue_overflow")
    with pytest.raises(WorkspaceError, match="install watchdog"):
        Watcher(os.fspath(tree))
    monkeypatch.delattr(inotify_c, "InotifyFD")
    with pytest.raises(WorkspaceError, match="install watchdog"):
        Watcher(os.fspath(tree))


def test_nothing_stays_open(tree: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Watcher(os.fspath(tree)) as watcher:
            (tree / "f").touch()
            rest(watcher)
        watcher.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not [thread for thread in threading.enumerate() if "InotifyFD" in type(thread).__name__]
