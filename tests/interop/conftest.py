"""What the tests with the tools of others share: histories that were pushed, and the tools."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.contents import write
from tests.fakes.trees import Tree, snapshot
from tests.fakes.workspaces import Workspaces
from tests.interop.tools import Buildah, Skopeo, Umoci, make_portable


@dataclass(frozen=True)
class History:
    """A workspace after several pushes: where it is kept and what it holds. `layers` is the number of head's layers."""

    workspaces: Workspaces
    tree: Tree
    layers: int

    @property
    def layout(self) -> Path:
        return self.workspaces.place / "layout"


def first(top: bytes) -> None:
    make_portable(top)
    write(top, b"keep/file", b"keep")
    write(top, b"gone/with/all", b"below")
    write(top, b"swap/was/directory", b"x")
    write(top, b"turned", b"was a file")
    write(top, b"again/one", b"1")
    write(top, b"again/two", b"2")
    write(top, b"lone", b"lone")
    write(top, b"group/1", b"linked")
    os.link(top + b"/group/1", top + b"/group/2")
    os.link(top + b"/group/1", top + b"/keep/3")


def second(top: bytes) -> None:
    shutil.rmtree(top + b"/gone")
    shutil.rmtree(top + b"/swap")
    write(top, b"swap", b"now a file")
    os.unlink(top + b"/turned")
    write(top, b"turned/into/directory", b"x")
    shutil.rmtree(top + b"/again")
    write(top, b"again/three", b"3")
    shutil.copy2(top + b"/group/2", top + b"/group/new")
    os.rename(top + b"/group/new", top + b"/group/2")
    os.link(top + b"/lone", top + b"/group/lone")
    shutil.rmtree(top + b"/modes")


def third(top: bytes) -> None:
    os.unlink(top + b"/swap")
    write(top, b"swap/back", b"a directory again")
    os.rename(top + b"/group", top + b"/moved")
    os.unlink(top + b"/keep/3")
    shutil.rmtree(top + b"/turned")
    os.symlink(b"keep", top + b"/turned")
    os.chmod(top + b"/times", 0o711)
    write(top, b"gone/is/back", b"new below")


def make_history(place: Path, compression: str, target: str | None = None) -> History:
    workspaces = Workspaces(place, target)
    for act in (first, second, third):
        act(workspaces.at("a"))
        workspaces.push("a", compression=compression)
    return History(workspaces, snapshot(workspaces.at("a")), 3)


def make_parallel_changes(workspaces: Workspaces, compression: str) -> None:
    """Push three changes made beside each other, and pull what came of them into `d`."""
    write(workspaces.at("a"), b"d/one", b"one")
    write(workspaces.at("a"), b"d/two", b"two")
    write(workspaces.at("a"), b"f", b"file")
    workspaces.push("a", compression=compression)
    workspaces.pull("b")
    workspaces.pull("c")
    shutil.rmtree(workspaces.at("a") + b"/d")
    write(workspaces.at("b"), b"d/three", b"three")
    write(workspaces.at("b"), b"d/one", b"one, changed beside its deletion")
    os.unlink(workspaces.at("c") + b"/f")
    write(workspaces.at("c"), b"f/in", b"in")
    for name in ("b", "a", "c"):
        workspaces.push(name, compression=compression)
    workspaces.pull("d")
    assert {b"d/one", b"d/three", b"f/in"} <= snapshot(workspaces.at("d")).keys()


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], History]]:
    """A history in a layout, by compression; not to be changed."""
    made: dict[str, History] = {}

    def get(compression: str) -> History:
        if compression not in made:
            made[compression] = make_history(tmp_path_factory.mktemp(f"history-{compression}"), compression)
        return made[compression]

    yield get
    for one in made.values():
        one.workspaces.close()


@pytest.fixture(scope="session")
def in_registry(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Callable[[str], History]]:
    """A history in a registry, by compression; not to be changed."""
    made: dict[str, History] = {}

    def get(compression: str) -> History:
        if compression not in made:
            target = f"{registry}/history/{uuid.uuid4().hex}:ws"
            made[compression] = make_history(tmp_path_factory.mktemp("history"), compression, target)
        return made[compression]

    yield get
    for one in made.values():
        one.workspaces.close()


@pytest.fixture
def workspaces(tmp_path: Path) -> Iterator[Workspaces]:
    made = Workspaces(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Skopeo:
    return Skopeo(tmp_path_factory.mktemp("skopeo"))


@pytest.fixture(scope="session")
def umoci(tmp_path_factory: pytest.TempPathFactory) -> Umoci:
    return Umoci(tmp_path_factory.mktemp("umoci"))


@pytest.fixture(scope="session", params=["overlay", "vfs"])
def buildah(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Buildah:
    return Buildah(tmp_path_factory.mktemp("buildah"), request.param)
