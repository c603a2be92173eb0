"""The tree to measure with: named versions of public packages, as their wheels unpack."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

FILES = 25_000
SIZE = 200 << 20
_PACKAGES = Path(__file__).with_name("packages.txt")
_CACHE = Path(__file__).parent.parent / ".bench_cache"


@dataclass(frozen=True, slots=True)
class Tree:
    """Files below `root`, in order, their number and bytes when they were made, and the packages' names."""

    root: Path
    files: tuple[Path, ...]
    size: int
    packages: tuple[str, ...]

    def one_in(self, share: int, step: int = 0) -> list[Path]:
        """Return every `share`-th file, beginning with the `step`-th."""
        return list(self.files[step % share :: share])

    def directory_of(self, share: float) -> tuple[str, int]:
        """Return the directory whose files' bytes come nearest to this share of the tree's, and these bytes."""
        sizes: dict[Path, int] = {}
        for path in self.files:
            size = path.stat().st_size
            for directory in path.relative_to(self.root).parents:
                sizes[directory] = sizes.get(directory, 0) + size
        nearest = min(sizes, key=lambda directory: (abs(sizes[directory] - share * self.size), directory))
        return str(nearest), sizes[nearest]


def make_tree(root: Path) -> Tree:
    """Unpack the packages below `root`; they are fetched once and checked against their sha256.

    Raises:
        RuntimeError: they cannot be fetched, or are not what they were.
    """
    packages = []
    for wheel in _wheels():
        packages.append(" ".join(wheel.name.split("-")[:2]))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root)
    files = tuple(sorted(Path(top) / name for top, _, names in os.walk(root) for name in names))
    size = sum(path.stat().st_size for path in files)
    if len(files) < FILES or size < SIZE:
        raise RuntimeError(f"{_PACKAGES.name} gives {len(files):,} files and {size:,} bytes, which is too few")
    return Tree(root, files, size, tuple(packages))


def add_a_line(paths: list[Path], step: int) -> None:
    """Change files as an editor would: a little of each."""
    for path in paths:
        with path.open("ab") as file:
            file.write(b"# changed in step %d\n" % step)


def _wheels() -> list[Path]:
    _CACHE.mkdir(exist_ok=True)
    # pip believes what lies there only if it has the right hash, and fetches it again otherwise.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    options = ["--only-binary=:all:", "--require-hashes", f"--requirement={_PACKAGES}", f"--dest={_CACHE}"]
    offline = ["--no-index", f"--find-links={_CACHE}"]
    for where in (offline, []):
        done = subprocess.run([*command, *options, *where], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return sorted(_CACHE.glob("*.whl"), key=lambda path: path.name.lower())
    raise RuntimeError(f"the packages of {_PACKAGES.name} cannot be fetched: {done.stderr.strip()[-1000:]}")
