"""`python -m bench [PART ...] [--write docs/benchmarks.md]`: measure, and print what was reached beside the targets."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import run
from bench.results import Results
from bench.scale import Scale
from bench.source import Source
from bench.table import commands_table, targets_table
from bench.targets import TARGETS
from bench.traffic import Traffic
from bench.tree import make_tree
from tests.fakes.docker_registry import BINARY, DockerRegistry

_ROOM = 4 << 30
_HEAD = """# Benchmarks

`make bench` measures the agent beside tools that do comparable work, all in one run. Times are of whole processes, the
fastest of several runs, each tool in turn with the one beside it. Registry, trees, states and what the others write lie
on the same file system. The registry's own work is not in the agent's CPU time, but on the same cores. Peak memory is
that of the largest process of a command.

"""


def main() -> int:
    """Measure, print the page, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"measure only: {', '.join(_PARTS)}")
    parser.add_argument("--write", metavar="FILE", type=Path, help="put what is printed into a page, too")
    words = parser.parse_args()
    if unknown := set(words.parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if shutil.which(BINARY) is None:
        print(f"{BINARY} is not installed; on Debian: apt-get install docker-registry", file=sys.stderr)
        return 1
    began, results = time.monotonic(), Results()
    for name in words.parts or _PARTS:
        results.say(f"-- {name}, {time.monotonic() - began:.0f} s")
        with _place() as place, _registry(place) as address:
            _PARTS[name](place, address, results)
    page = _HEAD + _page(results, time.monotonic() - began)
    print(page)
    if words.write:
        words.write.write_text(page + _written_by_hand(words.write))
    return 0


def _source(place: Path, registry: str, results: Results) -> None:
    tree = make_tree(place / "tree")
    packages = ", ".join(tree.packages)
    results.notes.append(
        f"Tree: {packages}: {len(tree.files):,} files, {tree.size / (1 << 20):.0f} MiB, on {_kind(place)}."
    )
    Source(place, registry, tree, results).measure()


_PARTS: dict[str, Callable[[Path, str, Results], None]] = {
    "source": _source,
    "traffic": lambda place, registry, results: Traffic(place, registry, results).measure(),
    "many": lambda place, registry, results: Scale(place, registry, results).many(),
    "large": lambda place, registry, results: Scale(place, registry, results).large(),
}


def _page(results: Results, seconds: float) -> str:
    machine = (
        f"Machine: {len(os.sched_getaffinity(0))} cores ({_processor()}), {_memory() >> 30} GiB, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}; {', '.join(_versions())}. "
        f"The run took {seconds:.0f} s."
    )
    said = "\n".join([*results.notes, *results.missing, machine])
    return f"{said}\n\n{targets_table(TARGETS, results)}\n{commands_table(results)}"


def _written_by_hand(page: Path) -> str:
    """Return the sections that follow the tables."""
    _, mark, rest = (page.read_text() if page.exists() else "").partition("\n## ")
    return mark + rest


@contextmanager
def _place() -> Iterator[Path]:
    """Make a directory on tmpfs where it has room."""
    shared = Path("/dev/shm")
    roomy = str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > _ROOM else None
    with tempfile.TemporaryDirectory(prefix="instep-bench-", dir=roomy) as name:
        yield Path(name)


@contextmanager
def _registry(place: Path) -> Iterator[str]:
    storage = place / "registry"
    storage.mkdir()
    registry = DockerRegistry(storage)
    try:
        yield registry.address
    finally:
        registry.close()


def _kind(place: Path) -> str:
    return run(["stat", "-f", "-c", "%T", str(place)], keep=True).output.strip()


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _versions() -> Iterator[str]:
    """Yield the names and versions of what the agent is measured beside."""
    for words in (
        ["tar", "--version"],
        ["zstd", "--version"],
        ["umoci", "--version"],
        ["skopeo", "--version"],
        ["restic", "version"],
        [BINARY, "--version"],
    ):
        if shutil.which(words[0]):
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            if version := re.search(r"\d+(\.\d+)+", said):
                yield f"{words[0]} {version[0]}"


if __name__ == "__main__":
    sys.exit(main())
