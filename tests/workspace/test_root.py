import errno
import os
import subprocess
from pathlib import Path

import pytest

from agent.errors import WorkspaceError
from agent.workspace.filesystem.root import OPEN_DIRECTORIES, Root, open_root


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_link_on_the_way_is_not_followed(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside" / "d").mkdir(parents=True)
    os.symlink(tmp_path / "outside", os.path.join(root.path, b"link"))
    for path in (b"link", b"link/d"):
        with pytest.raises(OSError) as caught:
            root.directory(path)
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_a_link_as_the_root_itself_is_the_users_choice(root: Root, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("root")
    with open_root(tmp_path / "link") as opened:
        assert (opened.identity, opened.path) == (root.identity, root.path)


@pytest.mark.parametrize("path", [b"..", b"a/../b", b"a//b", b"./a", b"/etc"])
def test_a_path_that_is_not_canonical_is_a_bug(root: Root, path: bytes) -> None:
    with pytest.raises((ValueError, FileNotFoundError)):
        root.directory(path)


def test_no_more_descriptors_stay_open_than_promised(root: Root) -> None:
    before = open_descriptors()
    for number in range(3 * OPEN_DIRECTORIES):
        os.mkdir(os.path.join(root.path, b"%d" % number))
        root.directory(b"%d" % number)
    assert open_descriptors() - before == OPEN_DIRECTORIES
    root.close()
    assert open_descriptors() == before - 1
    root.close()


def test_descriptors_stay_right_when_the_oldest_are_closed(root: Root) -> None:
    deep = b"/".join([b"d"] * (2 * OPEN_DIRECTORIES))
    os.makedirs(os.path.join(root.path, deep))
    for path in (deep, b"d", deep, b"", b"d/d", deep[: len(deep) // 2 * 2 - 1]):
        here = os.stat(os.path.join(root.path, path))
        assert os.fstat(root.directory(path)).st_ino == here.st_ino


def test_a_directory_that_was_removed_and_made_again_is_opened_anew(root: Root) -> None:
    place = os.path.join(root.path, b"d")
    os.mkdir(place)
    root.directory(b"d")
    root.close_directory(b"d")
    os.rmdir(place)
    with pytest.raises(FileNotFoundError):
        root.directory(b"d")
    os.mkdir(place)
    assert os.fstat(root.directory(b"d")).st_ino == os.stat(place).st_ino


def test_lstat_tells_absence_from_trouble(root: Root) -> None:
    with open(os.path.join(root.path, b"file"), "w"):
        pass
    assert root.lstat(b"missing") is None
    assert root.lstat(b"missing/below") is None
    assert root.lstat(b"file/below") is None
    with pytest.raises(WorkspaceError, match="File name too long"):
        root.lstat(b"x" * 256)


def test_what_is_no_directory_gets_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "missing", "file/below"):
        with pytest.raises(WorkspaceError, match="not a directory"):
            open_root(tmp_path / name)


def test_a_directory_that_nobody_can_make_is_told_from_a_missing_one() -> None:
    with pytest.raises(WorkspaceError, match="a directory cannot be made there; name another place"):
        open_root("/proc/nowhere", create=True)


def test_a_missing_directory_is_made_on_demand_only(tmp_path: Path) -> None:
    with open_root(tmp_path / "a" / "b", create=True) as made:
        assert made.path == os.fsencode(tmp_path / "a" / "b")


def test_a_duplicate_outlives_its_origin(root: Root) -> None:
    os.mkdir(os.path.join(root.path, b"d"))
    with root.duplicate() as other:
        root.close()
        assert other.lstat(b"d") is not None


def test_inodes_of_a_file_system_mounted_inside_are_told_apart(root: Root) -> None:
    inner = os.path.join(root.path, b"inner")
    os.mkdir(inner)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", inner], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        with open(os.path.join(inner, b"file"), "w"):
            pass
        found = root.lstat(b"inner/file")
        assert found is not None
        about = os.stat(os.path.join(inner, b"file"))
        assert found.fingerprint.ino == about.st_dev << 64 | about.st_ino
    finally:
        root.close_directory(b"inner")
        subprocess.run(["umount", inner], check=True)
