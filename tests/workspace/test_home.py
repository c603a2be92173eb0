import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BusyError, WorkspaceError
from agent.workspace.state.state_home import make_state_home, state_home
from agent.workspace.state.state_lock import LockWait, lock_directory, lock_state


def test_the_first_place_that_is_named_and_writable_counts(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "xdg").mkdir()
    work, home, xdg = (os.fspath(tmp_path / name) for name in ("work", "home", "xdg"))
    environ = {"HOME": home, "XDG_STATE_HOME": xdg, "INSTEP_STATE": os.fspath(tmp_path / "given")}
    key = os.path.basename(state_home(environ, work))
    assert len(key) == 32
    assert state_home(environ, work, os.fspath(tmp_path / "exact")) == os.fspath(tmp_path / "exact")
    assert state_home(environ, work) == f"{tmp_path}/given/{key}"
    del environ["INSTEP_STATE"]
    assert state_home(environ, work) == f"{xdg}/instep/{key}"
    environ["XDG_STATE_HOME"] = "relative"
    assert state_home(environ, work) == f"{home}/.local/state/instep/{key}"
    (tmp_path / "file").touch()
    environ["HOME"] = os.fspath(tmp_path / "file")
    assert state_home(environ, work) == f"/tmp/instep-{os.geteuid()}/{key}"
    assert state_home({}, work) == f"/tmp/instep-{os.geteuid()}/{key}"


def test_two_names_of_one_directory_have_one_state(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    environ = {"HOME": os.fspath(tmp_path)}
    assert state_home(environ, tmp_path / "work") == state_home(environ, os.fsencode(tmp_path / "link"))
    assert state_home(environ, tmp_path / "work") != state_home(environ, tmp_path / "other")


def test_a_workspace_never_holds_its_own_state(tmp_path: Path) -> None:
    work = os.fspath(tmp_path)
    assert state_home({"HOME": work}, work).startswith("/tmp/instep-")
    assert state_home({"HOME": f"{work}/below"}, work).startswith("/tmp/instep-")
    with pytest.raises(WorkspaceError, match="inside the workspace"):
        state_home({}, work, f"{work}/state")
    with pytest.raises(WorkspaceError, match="inside the workspace"):
        state_home({"INSTEP_STATE": work}, work)


def test_a_user_without_a_home_still_has_a_place(
    tmp_path: Path, strangers_directory: str, as_stranger: Callable[..., Any]
) -> None:
    for home in ("/", "/root", "/nonexistent"):
        found = as_stranger(lambda home=home: state_home({"HOME": home}, strangers_directory))
        assert found.startswith("/tmp/instep-61234/")


def test_the_states_directory_is_private(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    make_state_home(os.fspath(home))
    make_state_home(os.fspath(home))
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_place_that_others_could_have_prepared_is_refused(
    tmp_path: Path, strangers_directory: str, as_stranger: Callable[..., Any]
) -> None:
    os.chmod(strangers_directory, 0o777)
    with pytest.raises(WorkspaceError, match="another user"):
        make_state_home(strangers_directory)
    with pytest.raises(WorkspaceError, match="another user"):
        as_stranger(lambda: make_state_home(strangers_directory))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError):
        make_state_home(os.fspath(tmp_path / "link"))


def test_a_second_agent_waits_and_then_says_who_is_at_work(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    slept: list[float] = []
    said: list[str] = []
    with (
        lock_state(os.fspath(tmp_path)),
        pytest.raises(WorkspaceError, match=rf"another agent \(pid {os.getpid()}\) is at work"),
        lock_state(os.fspath(tmp_path), LockWait(2.5, said.append, lambda: next(times), slept.append), subject=b"work"),
    ):
        pytest.fail("both hold the lock")
    assert len(slept) == 2
    assert said == [f"work: another agent (pid {os.getpid()}) is at work; waiting for it, 2.5 s at most"]
    with lock_state(os.fspath(tmp_path), LockWait(0)):
        pass


def test_a_second_agent_gets_the_lock_when_the_first_ends(tmp_path: Path) -> None:
    first = lock_state(os.fspath(tmp_path))
    first.__enter__()
    with lock_state(os.fspath(tmp_path), LockWait(100, sleep=lambda _: first.__exit__(None, None, None))):
        pass


def test_death_releases_the_lock(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with lock_state(os.fspath(tmp_path)):
                os.write(write, b"!")
                while True:
                    os.read(read, 0)
        finally:
            os._exit(1)
    try:
        assert os.read(read, 1) == b"!"
        with pytest.raises(WorkspaceError, match=f"pid {child}"), lock_state(os.fspath(tmp_path), LockWait(0)):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
    with lock_state(os.fspath(tmp_path), LockWait(5)):
        pass


def test_a_lock_that_cannot_be_had_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be locked"), lock_state(os.fspath(tmp_path / "missing")):
        pass


def test_a_directory_is_locked_until_it_is_closed_and_holds_nothing_more_than_before(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    lock_directory(first, b"work", LockWait(0))
    with pytest.raises(BusyError, match="work: another agent is at work"):
        lock_directory(second, b"work", LockWait(0))
    os.close(first)
    lock_directory(second, b"work", LockWait(0))
    os.close(second)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_cannot_be_locked_is_used_all_the_same() -> None:
    unlockable = os.open("/", os.O_PATH)
    lock_directory(unlockable, b"work", LockWait(0))
    os.close(unlockable)
