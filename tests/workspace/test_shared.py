"""Work that processes share: whoever is killed or fails, the results are all there, and nobody stays behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.workspace.scan.forked_tasks import ForkedTasks, process_count

HERE = os.getpid()


def shared(tasks: list[Callable[[], int]], directory: Path, processes: int = 3) -> list[int]:
    with ForkedTasks(tasks, lambda result: b"%d" % result, int, str(directory), processes) as work:
        return work.results()


def children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.fixture(autouse=True)
def nobody_stays_behind() -> object:
    before, files = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) == files


def met(number: int, place: Path, processes: int) -> Callable[[], int]:
    """A task that ends when so many processes have begun one."""

    def task() -> int:
        (place / str(os.getpid())).touch()
        while len(os.listdir(place)) < processes:
            time.sleep(0.001)
        return number * 1_000_000 + os.getpid()

    return task


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_results_come_in_the_order_of_the_tasks_whoever_did_them(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, processes: int
) -> None:
    place = tmp_path_factory.mktemp("met")
    results = shared([met(number, place, processes) for number in range(20)], tmp_path, processes)
    assert [result // 1_000_000 for result in results] == list(range(20))
    doers = {result % 1_000_000 for result in results}
    assert len(doers) == processes
    assert os.getpid() % 1_000_000 in doers
    assert os.listdir(tmp_path) == []


def test_no_more_processes_than_tasks(tmp_path: Path) -> None:
    assert shared([os.getpid], tmp_path, 9) == [os.getpid()]
    assert shared([], tmp_path, 9) == []


def elsewhere(strike: Callable[[], object]) -> Callable[[], int]:
    """A task that strikes in any process but this one."""

    def task() -> int:
        if os.getpid() != HERE_NOW[0]:
            strike()
        time.sleep(0.01)
        return 7

    return task


HERE_NOW = [0]
FOR_EVER = 3_600
"""Seconds: longer than any test may take."""


def explode() -> None:
    raise ValueError("in another process")


@pytest.mark.parametrize(
    "strike",
    [
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os.kill(os.getpid(), signal.SIGTERM),
        lambda: os._exit(0),
        explode,
        lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    ],
    ids=["killed", "terminated", "ended", "error", "interrupt"],
)
def test_what_another_leaves_undone_is_done_here(
    tmp_path: Path, strike: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    HERE_NOW[0] = os.getpid()
    assert shared([elsewhere(strike) for _ in range(6)], tmp_path) == [7] * 6
    assert capfd.readouterr() == ("", "")


def test_an_error_is_raised_here_and_ends_the_others(tmp_path: Path) -> None:
    def task() -> int:
        if os.getpid() != HERE_NOW[0]:
            time.sleep(FOR_EVER)
        raise LookupError

    HERE_NOW[0] = os.getpid()
    with pytest.raises(LookupError):
        shared([task] * 6, tmp_path)


def test_an_error_in_another_process_is_met_here(tmp_path: Path) -> None:
    HERE_NOW[0] = os.getpid()

    def task() -> int:
        if os.getpid() == HERE_NOW[0] and not done:
            done.append(1)
            time.sleep(0.2)  # so that another gets to the second
            return 1
        raise LookupError

    done: list[int] = []
    with pytest.raises(LookupError):
        shared([task, task], tmp_path, 2)


def test_results_larger_than_a_pipe_arrive(tmp_path: Path) -> None:
    with ForkedTasks([lambda: bytes(1 << 20)] * 8, bytes, bytes, str(tmp_path), 3) as work:
        assert work.results() == [bytes(1 << 20)] * 8


def test_without_room_for_others_the_work_is_done_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    assert shared([lambda: 3] * 4, tmp_path) == [3] * 4
    assert shared([lambda: 3] * 4, tmp_path / "missing") == [3] * 4


def test_the_signals_of_this_process_are_as_they_were(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM)
    shared([lambda: 1] * 4, tmp_path)
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM)) == before


def test_a_process_with_threads_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 2)
    assert process_count() == 1
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    assert process_count() == 4


def test_whoever_is_killed_leaves_nobody_behind_with_his_locks(tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with ForkedTasks([lambda: time.sleep(FOR_EVER)] * 3, lambda _: b"", len, str(tmp_path), 3):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b""  # the others have it open as long as they are there
    os.close(read)
