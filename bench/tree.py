"""The tree to measure with: real source text, made different in each copy."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

FILES = 25_000
SIZE = 200 << 20
_TEXT = {".py", ".pyi", ".h", ".c", ".txt", ".rst", ".md", ".json", ".toml", ".css", ".js", ".html", ".decTest"}
_LARGEST = 4 << 20


def make_tree(root: Path, files: int = FILES, size: int = SIZE) -> tuple[int, int]:
    """Copy the interpreter's libraries below `root` until there are so many files and bytes; return both numbers.

    Every file of every copy gets a line of its own, so that no tool wins by finding the copies.
    """
    sources = list(_sources())
    made = written = copy = 0
    while made < files or written < size:
        for base, source in sources:
            data = b"# copy %d\n" % copy + (base / source).read_bytes()
            target = root / f"copy-{copy}" / base.name / source
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            made, written = made + 1, written + len(data)
        copy += 1
    return made, written


def _sources() -> Iterator[tuple[Path, Path]]:
    library = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    for base in (library, packages):
        for path in sorted(base.rglob("*")):
            inside = path.relative_to(base)
            if base == library and inside.parts[0] in ("site-packages", "dist-packages"):
                continue
            if path.suffix in _TEXT and path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST:
                yield base, inside


def change_some(root: Path, share: int, step: int) -> int:
    """Add a line to every `share`-th file, beginning with the `step`-th, and return their number."""
    files = sorted(path for path in root.rglob("*") if path.is_file())[step % share :: share]
    for path in files:
        with path.open("ab") as file:
            file.write(b"# changed in step %d\n" % step)
    return len(files)
