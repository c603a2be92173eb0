"""The images, built once, as an operator without network builds them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.images.container import Container, Images, python_root
from tests.interop.tools import Skopeo

ROOT = Path(__file__).parents[2]
CONTEXT = ("Containerfile", ".dockerignore", "LICENSE", "README.md", "agent", "images", "pyproject.toml")
OFFLINE = ("--build-arg", "PYTHON_BASE=localhost/python", "--build-arg", "PIP_NO_INDEX=1")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Images]:
    """`python`, a Debian with Python; `agent`; `base`. The processes of a parallel run share them."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    place = shared / "images"
    with (shared / "images.door").open("w") as door, (shared / "images.users").open("w") as users:
        try:
            with _locked(door):
                place.mkdir(exist_ok=True)
                fcntl.flock(users, fcntl.LOCK_SH)
                made = Images(place)
                if not (place / "built").exists():
                    _build(made)
                    (place / "built").touch()
            yield made
        finally:
            with _locked(door), suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(place)


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _remove(place: Path) -> None:
    """Leave nothing: what pytest keeps of a run should not be that large."""
    for mounted in (place / "root").glob("*"):
        if mounted.is_mount():
            subprocess.run(["umount", str(mounted)], check=True)
    shutil.rmtree(place)


def _build(images: Images) -> None:
    archive, context = images.place / "root.tar", images.place / "context"
    python_root(archive)
    images.add("python", archive)
    for name in CONTEXT:
        source, destination = ROOT / name, context / name
        destination.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.whl"))
        else:
            shutil.copy(source, destination)
    with tarfile.open(archive) as tar:
        version = tar.getmember("./usr/bin/python3").linkname.removeprefix("python")
    for lock in ("build.lock", "requirements.lock", "controller.lock"):
        _download(context / "images/agent" / lock, context / "images/agent/wheels", version)
    images.build("agent", context, *OFFLINE)
    images.build("base", context / "images/base")


def _download(lock: Path, wheels: Path, version: str) -> None:
    words = ["download", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    subprocess.run(
        [sys.executable, "-m", "pip", *words, "--python-version", version, "-d", str(wheels), "-r", str(lock)],
        check=True,
        capture_output=True,
        timeout=300,
    )


@pytest.fixture
def controller_image(images: Images) -> str:
    """The controller's image, built for the one test that runs it."""
    as_controller = ("--build-arg", "LOCK=controller.lock", "--build-arg", "RUN_AS=65532")
    images.build("controller", images.place / "context", *OFFLINE, *as_controller)
    return "controller"


@pytest.fixture
def container(images: Images, tmp_path: Path) -> Iterator[Container]:
    """A container of the agent's image, from which the shells were taken."""
    with images.container("agent", tmp_path / "volume") as made:
        for shell in ("sh", "bash", "dash"):
            (made.root / "usr/bin" / shell).unlink(missing_ok=True)
        yield made


@pytest.fixture(scope="session")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Skopeo:
    return Skopeo(tmp_path_factory.mktemp("skopeo"))
