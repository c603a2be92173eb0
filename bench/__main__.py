"""`python -m bench [PART ...] [--write docs/reference/benchmarks.md]`: measure, and compare with the targets."""

from __future__ import annotations

import argparse
import compileall
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import agent
from bench.machine import describe
from bench.place import make_place
from bench.results import Results
from bench.scale import LARGE_ROOM, MANY_ROOM, measure_large, measure_many
from bench.source import measure_source
from bench.start import measure_start
from bench.table import commands_table, targets_table
from bench.targets import TARGETS
from bench.traffic import measure_traffic
from tests.fakes.docker_registry import BINARY, DockerRegistry

_PARTS: dict[str, tuple[int, Callable[[Path, str, Results], None]]] = {
    "source": (4 << 30, measure_source),
    "traffic": (1 << 30, measure_traffic),
    "many": (MANY_ROOM, measure_many),
    "large": (LARGE_ROOM, measure_large),
}
"""What may be measured alone: the bytes that it needs, and what does it."""

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
    if words.parts and words.write:
        parser.error("a page holds all parts")
    if shutil.which(BINARY) is None:
        print(f"{BINARY} is not installed; on Debian: apt-get install docker-registry", file=sys.stderr)
        return 1
    # As whoever installs it does: an editable installation is compiled by its first run, if at all.
    compileall.compile_dir(Path(agent.__file__).parent, quiet=1)
    began, results = time.monotonic(), Results()
    measure_start(results)
    for name in words.parts or _PARTS:
        results.say(f"-- {name}, {time.monotonic() - began:.0f} s")
        need, measure = _PARTS[name]
        with make_place(need) as place, _registry(place) as address:
            measure(place, address, results)
    page = _page(results, time.monotonic() - began)
    print(page)
    if words.write:
        words.write.write_text(page + _written_by_hand(words.write))
    return 0


def _page(results: Results, seconds: float) -> str:
    said = [*results.notes, *results.missing, f"Machine: {describe(BINARY)}.", f"The run took {seconds:.0f} s."]
    facts = "".join(f"- {fact}\n" for fact in said)
    return "\n".join([_HEAD + facts, targets_table(TARGETS, results), commands_table(results)])


def _written_by_hand(page: Path) -> str:
    """Return the sections that follow the tables."""
    _, mark, rest = (page.read_text() if page.exists() else "").partition("\n## ")
    return mark + rest


@contextmanager
def _registry(place: Path) -> Iterator[str]:
    storage = place / "registry"
    storage.mkdir()
    registry = DockerRegistry(storage)
    try:
        yield registry.address
    finally:
        registry.close()


if __name__ == "__main__":
    sys.exit(main())
