"""`python -m bench [--write docs/benchmarks.md]`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from bench.agent import Agent
from bench.others import Others
from bench.table import Row, table
from bench.tree import FILES, SIZE, make_tree
from tests.fakes.docker_registry import BINARY, DockerRegistry

_ROOM = 4 << 30
_HEAD = """# Benchmarks

`make bench` measures, on one machine and in one run, the agent beside tools that do comparable work. Times are of whole
processes, the fastest of {repeat} (one run only of umoci, restic and a pull of 1 %, which cannot be repeated as they
were); they are no promise, and ratios say more than seconds. The registry is Debian's `docker-registry` on loopback.
Peak memory is that of the largest single process.

Tree: {files:,} files, {size:.0f} MiB of source text, on {where}. Machine: {cores} cores, Linux {kernel},
Python {python}.

"""


def main() -> int:
    """Measure, print a table, and write it to a file if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table to a page, too")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the fastest counts")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--mib", type=int, default=SIZE >> 20)
    words = parser.parse_args()
    if shutil.which(BINARY) is None:
        print(f"{BINARY} is not installed; on Debian: apt-get install docker-registry", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="instep-bench-", dir=_roomy()) as name:
        page = _measure(Path(name), words.repeat, words.files, words.mib << 20)
    print(page)
    if words.write:
        words.write.write_text(page + _written_by_hand(words.write))
    return 0


def _written_by_hand(page: Path) -> str:
    """Return the sections that follow the table: what is measured elsewhere."""
    _, mark, rest = (page.read_text() if page.exists() else "").partition("\n## ")
    return mark + rest


def _measure(place: Path, repeat: int, files: int, size: int) -> str:
    made, written = make_tree(place / "tree", files, size)
    storage = place / "registry"
    storage.mkdir()
    registry = DockerRegistry(storage)
    rows: list[Row] = []
    try:
        for source in (
            Others(place, registry.address, place / "tree", repeat),
            Agent(place, registry.address, place / "tree", repeat),
        ):
            for row in source.rows():
                print(f"{row.work}: {row.tool}: {row.result.seconds:.2f} s", file=sys.stderr, flush=True)
                rows.append(row)
    finally:
        registry.close()
    head = _HEAD.format(
        repeat=repeat,
        files=made,
        size=written / (1 << 20),
        where="tmpfs" if str(place).startswith("/dev/shm") else "disk",
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
    )
    return head + table(rows)


def _roomy() -> str | None:
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > _ROOM else None


if __name__ == "__main__":
    sys.exit(main())
