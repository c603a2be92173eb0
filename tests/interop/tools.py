"""The tools of others, each with a storage, a policy and a configuration of its own below a directory of the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.contents import CASES, ROOT_ONLY
from tests.fakes.trees import Tree

TOO_MUCH = {"regular files", "sparse files", "paths longer than the system takes", "a device without a number"}
"""What takes long, what these tools, which hand whole paths to the system, cannot reach, and what means a deletion in
overlayfs."""

LAST_NS = (1 << 63) - 1
"""What a count of ns since 1970 ends with in Go: the tools do not keep later times."""


class Tool:
    """A command; `place` keeps what it writes. A run may take `seconds`."""

    seconds = 60

    def __init__(self, command: str, place: Path) -> None:
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
        self.command = command
        self.place = place
        self.policy = place / "policy.json"
        self.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (place / "registries.conf").write_text("unqualified-search-registries = []\n")
        (place / "tmp").mkdir(exist_ok=True)
        (place / "auth.json").write_text("{}")
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "TMPDIR": str(place / "tmp"),
            "XDG_RUNTIME_DIR": str(place / "tmp"),
            "LANG": "C.UTF-8",
            "REGISTRY_AUTH_FILE": str(place / "auth.json"),
            "CONTAINERS_REGISTRIES_CONF": str(place / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": "/dev/null",
        }

    def run(self, *words: str | Path) -> str:
        """Run the command, which must succeed, and return its output."""
        done = subprocess.run(
            [self.command, *map(str, words)],
            cwd=self.place,
            env=self.environ,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=self.seconds,
        )
        assert done.returncode == 0, f"{self.command} {words}: {done.stderr}"
        return done.stdout


class Skopeo(Tool):
    def __init__(self, place: Path) -> None:
        super().__init__("skopeo", place)

    def inspect(self, image: str) -> dict[str, Any]:
        words = ["--tls-verify=false"] if image.startswith("docker:") else []
        value = json.loads(self.run("inspect", *words, image))
        assert isinstance(value, dict)
        return value

    def copy(self, source: str, destination: str, *words: str) -> None:
        relaxed = [
            *(["--src-tls-verify=false"] if source.startswith("docker:") else []),
            *(["--dest-tls-verify=false"] if destination.startswith("docker:") else []),
        ]
        self.run("--policy", self.policy, "copy", "--quiet", *relaxed, *words, source, destination)


class Umoci(Tool):
    """What umoci 0.4.7 keeps: all but empty extended attributes, `=` in their names, and times after 2262."""

    def __init__(self, place: Path) -> None:
        super().__init__("umoci", place)
        self._bundles = 0

    def unpack(self, layout: Path, tag: str, *, rootless: bool = os.geteuid() != 0) -> Path:
        """Return a new bundle; the tree is its `rootfs`."""
        self._bundles += 1
        bundle = self.place / f"bundle-{self._bundles}"
        self.run("unpack", *(["--rootless"] if rootless else []), "--image", f"{layout}:{tag}", bundle)
        return bundle

    def new(self, layout: Path, tag: str) -> None:
        if not layout.exists():
            self.run("init", "--layout", layout)
        self.run("new", "--image", f"{layout}:{tag}")

    def repack(self, layout: Path, tag: str, bundle: Path) -> None:
        self.run("repack", "--refresh-bundle", "--image", f"{layout}:{tag}", bundle)

    def insert(self, layout: Path, tag: str, *words: str | Path) -> None:
        self.run("insert", *(["--rootless"] if os.geteuid() != 0 else []), "--image", f"{layout}:{tag}", *words)


class Buildah(Tool):
    """What buildah 1.28.2 keeps: all but empty extended attributes, `=` in their names, times before 1970 (0 instead)
    and after 2262; its driver vfs, which copies layers, makes several links or FIFOs of one that had several names."""

    def __init__(self, place: Path, driver: str) -> None:
        super().__init__("buildah", place)
        if os.geteuid() != 0:
            pytest.skip("mounting what buildah holds needs root")
        self.driver = driver
        self._storage = ["--root", place / "root", "--runroot", place / "run", "--storage-driver", driver]
        try:
            with self.container("scratch"):
                pass
        except AssertionError as error:
            pytest.skip(f"buildah cannot work here with the driver {driver}: {error}")

    def do(self, *words: str | Path) -> str:
        return self.run("--registries-conf", self.place / "registries.conf", *self._storage, *words).strip()

    @contextmanager
    def container(self, image: str) -> Iterator[tuple[str, Path]]:
        """Give a container made from an image, and where its tree is mounted."""
        name = (
            self.do("from", "--quiet", "--tls-verify=false", "--signature-policy", self.policy, "--pull-always", image)
            if image != "scratch"
            else self.do("from", "scratch")
        )
        try:
            yield name, Path(self.do("mount", name))
            self.do("umount", name)
        finally:
            self.do("rm", name)

    def commit(self, container: str, destination: str, *words: str) -> None:
        self.do(
            "commit", "--quiet", "--tls-verify=false", "--signature-policy", self.policy, *words, container, destination
        )


def make_portable(top: bytes) -> None:
    """Make all that a workspace may hold and all of these tools keep."""
    for name, make in CASES.items():
        if name not in TOO_MUCH and (os.geteuid() == 0 or name not in ROOT_ONLY):
            make(top)
    for name in os.listdir(top + b"/times"):
        if not 0 <= os.lstat(top + b"/times/" + name).st_mtime_ns <= LAST_NS:
            os.utime(top + b"/times/" + name, ns=(5, 6_000_000_007), follow_symlinks=False)
    for name in (b"file", b"read-only", b"special"):
        for attribute in ("user.empty", "user.two\nlines=\u00e9"):
            os.removexattr(top + b"/xattrs/" + name, attribute)


def without_links_of_links(tree: Tree) -> Tree:
    """Return a snapshot in which only regular files have several names."""
    return {path: (*row[:-1], row[-1] if row[0].startswith("-") else ()) for path, row in tree.items()}
