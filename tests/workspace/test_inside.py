"""Whether a path lies in a directory: by its name, through links, through mounts that are made for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.workspace.filesystem.path_containment import lies_inside


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "w" / "sub").mkdir(parents=True)
    (tmp_path / "w2").mkdir()
    (tmp_path / "link").symlink_to("w")
    (tmp_path / "into").symlink_to("w/sub")
    (tmp_path / "w" / "out").symlink_to("../w2")
    (tmp_path / "dangling").symlink_to("w/not/there")
    monkeypatch.chdir(tmp_path / "w" / "sub")
    return tmp_path


@pytest.mark.parametrize(
    "path",
    ["{}/w", "{}/w/", "{}/w/new", "{}/w/sub/new/er", "{}/w2/../w/new", "{}/link", "{}/link/new", "{}/into/new",
     "{}/dangling", "{}/dangling/new", ".", "..", "new", "../new", "{}/w/out/../new", "{}/w//sub", "{}/w/./new"],
)  # fmt: skip
@pytest.mark.parametrize("root", ["{}/w", "{}/link", "..", "{}/w2/../w"])
def test_what_lies_inside_is_found(place: Path, path: str, root: str) -> None:
    if path == "{}/w/out/../new":  # a link's `..` is that of the directory that it leads to
        assert not lies_inside(path.format(place), root.format(place))
    else:
        assert lies_inside(path.format(place), root.format(place))


@pytest.mark.parametrize(
    "path", ["{}", "{}/w2", "{}/w2/new", "{}/w/out", "{}/w/out/new", "../..", "../../w2", "{}/w-new", "/", "/nowhere"]
)
def test_what_lies_outside_is_not(place: Path, path: str) -> None:
    assert not lies_inside(path.format(place), f"{place}/w")


def test_a_directory_that_is_not_there_yet_has_an_inside(place: Path) -> None:
    assert lies_inside(f"{place}/new/r", f"{place}/new")
    assert lies_inside(f"{place}/link/new/r", f"{place}/w/new")
    assert not lies_inside(f"{place}/newer", f"{place}/new")


def test_a_directory_that_is_mounted_elsewhere_is_still_itself(tmp_path: Path) -> None:
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    for name in ("w/sub/deep", "all", "part", "own", "w/own"):
        (tmp_path / name).mkdir(parents=True)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", MOUNTS, "sh", sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unshare" in done.stderr:
        pytest.skip("no rights to make mounts")
    assert done.returncode == 0, done.stderr


MOUNTS = """
mount --bind w all
mount --bind w/sub part
mount -t tmpfs none own
mount --bind own w/own
exec "$@"
"""
LOOK = """
from agent.workspace.filesystem.path_containment import lies_inside
for path in ("all", "all/new", "all/sub/deep/r", "part", "part/new", "part/deep/r", "w/own/r", "all/own"):
    assert lies_inside(path, "w"), path
for path in ("w", "w/new", "part/new"):
    assert lies_inside(path, "all"), path
for path in ("w/sub/new", "all/sub/new", "part"):
    assert lies_inside(path, "part"), path
for path in ("w/new", "all/new", "own/r", "w"):
    assert not lies_inside(path, "part"), path
assert lies_inside("own/r", "w/own") and not lies_inside("own/r", "w/sub")
"""
