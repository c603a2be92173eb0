"""Many real agents push to one target at the same moment, some of them killed: what arrives, and what it costs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.sync.commands.read_target import LogEntry, log
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.target import Target
from tests.fakes.contents import write
from tests.fakes.plain import Plain, applied, on_disk
from tests.fakes.soaking import FULL
from tests.fakes.workspaces import Workspaces

pytestmark = pytest.mark.timeout(300)  # many processes at once take their time on a busy machine
MANY = 64 if FULL else 16
FEW = 12
REQUESTS = 25 + 2 * MANY
"""What the median push may need at most. It may have to read an entry and a config of each other push. How many of them
depends on how many the machine lets run at once; on an idle machine 25 requests are enough in all."""
TOP = Path(__file__).parent.parent.parent

Files = dict[str, bytes]


@dataclass
class Crowd:
    """Agents with a share of one workspace each.

    Attributes:
        changes: what each wrote, and what it deleted.
    """

    workspaces: Workspaces
    size: int
    gzip: bool = False

    def prepare(self) -> None:
        """Push a base, and let each agent pull it and change its share."""
        first = self.workspaces.at("first")
        for path, content in self.base().items():
            write(first, path.encode(), content)
        self.workspaces.push("first", compression="gzip" if self.gzip else "zstd")
        for number in range(self.size):
            self.workspaces.pull(f"w{number}")
            top = self.workspaces.at(f"w{number}")
            for path, content in self.written(number).items():
                write(top, path.encode(), content)
            for path in self.deleted(number):
                os.unlink(os.path.join(top, path.encode()))

    def base(self) -> Files:
        files = {"common/old": b"old", "top": b"top"}
        for number in range(self.size):
            for name in ("edited", "deleted", "kept"):
                files[f"share/{number}/{name}"] = f"{name} {number}".encode() * 20
        return files

    def written(self, number: int) -> Files:
        chance = random.Random(number)
        return {
            f"share/{number}/edited": b"anew",
            f"share/{number}/below/new": chance.randbytes(2000),
            f"common/from-{number}": chance.randbytes(100),
            f"own-{number}/file": chance.randbytes(5000),
        }

    def deleted(self, number: int) -> list[str]:
        return [f"share/{number}/deleted"]

    def tree(self, arrived: set[int]) -> Files:
        """Return the files that shall stand when these changes have arrived."""
        files = self.base()
        for number in arrived:
            files.update(self.written(number))
            for path in self.deleted(number):
                del files[path]
        return files

    def run(self, *, killed: int = 0, seconds: float = 0, seed: int = 0) -> list[int]:
        """Push from everywhere at once; return exit codes. `killed` agents are, within `seconds` of the start."""
        place, target = self.workspaces.place, self.workspaces.target
        agents = [
            {
                "words": ["push", target, str(place / f"w{number}"), "--state", str(place / f".state-w{number}")]
                + ["--lane", f"task-{number}", "--attempt", "0", "--json"]
                + (["--compression", "gzip"] if self.gzip else []),
                "output": str(place / f"output-{number}"),
                "dies": number < killed,
            }
            for number in range(self.size)
        ]
        listed = place / "agents"
        listed.write_text(json.dumps(agents))
        done = subprocess.run(
            [sys.executable, "-m", "tests.model.crowd", str(listed), str(seconds), str(seed)],
            cwd=TOP,
            stdout=subprocess.PIPE,
            check=True,
            timeout=240,
        )
        codes = json.loads(done.stdout)
        assert isinstance(codes, list)
        return codes

    def output(self, number: int) -> Any:
        text = (self.workspaces.place / f"output-{number}").read_text()
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"agent {number} said {text!r}") from None

    def pull(self, name: str, **options: Any) -> Files:
        self.workspaces.pull(name, **options)
        return files_of(on_disk(self.workspaces.at(name)))

    def head(self) -> Plain:
        """Return what head's layers give by plain application."""
        reference = parse_reference(self.workspaces.target)
        assert reference.tag
        return applied(self.workspaces.open_store(reference), reference.tag)

    def log(self) -> list[LogEntry]:
        reference = parse_reference(self.workspaces.target)
        return log(self.workspaces.open_store(reference), reference).changes

    def lacking(self) -> set[str]:
        """Return the ids of the changes that head lacks."""
        reference = parse_reference(self.workspaces.target)
        seen = Target(self.workspaces.open_store, reference, this_platform(None)).read_snapshot()
        assert seen.head is not None
        return seen.union.ids - seen.head.image.records.keys()


def files_of(tree: Plain) -> Files:
    return {path: content for path, (kind, _, content) in tree.items() if kind == "file"}


def check_all_arrived(crowd: Crowd) -> list[int]:
    """Check that every change is in one pull and in head; return the requests of each push."""
    codes = crowd.run()
    assert codes == [0] * crowd.size, [crowd.output(n) for n, code in enumerate(codes) if code]
    everybody = set(range(crowd.size))
    tree = crowd.pull("all")
    assert tree == crowd.tree(everybody)
    assert crowd.lacking() == set()
    assert crowd.head() == on_disk(crowd.workspaces.at("all"))
    reports = [crowd.output(number) for number in everybody]
    assert not any(report["conflicts"] for report in reports)
    named = crowd.pull("named", after=("task-3", "task-5"))
    assert {3, 5} <= {n for n in everybody if f"own-{n}/file" in named}
    return [report["traffic"]["requests"] for report in reports]


def check_killed(crowd: Crowd, seconds: float) -> None:
    """Kill a third; check that each change is wholly there or wholly absent, and there if its agent said so."""
    killed = crowd.size // 3
    codes = crowd.run(killed=killed, seconds=seconds, seed=crowd.size)
    assert set(codes) <= {0, -signal.SIGKILL}
    assert codes[killed:] == [0] * (crowd.size - killed)
    tree = crowd.pull("all")
    arrived = {number for number in range(crowd.size) if f"own-{number}/file" in tree}
    assert arrived >= {number for number, code in enumerate(codes) if code == 0}
    assert tree == crowd.tree(arrived)
    # Who was killed pushes again, from where it was: nothing is lost, nothing is there twice.
    for number in range(killed):
        crowd.workspaces.push(f"w{number}", lane=f"task-{number}", attempt=0)
    assert crowd.pull("again") == crowd.tree(set(range(crowd.size)))
    assert crowd.lacking() == set()
    assert crowd.head() == on_disk(crowd.workspaces.at("again"))
    # Who was killed on its last step publishes once more, an empty change: every push of an attempt does.
    assert sorted(change.lane for change in crowd.log() if change.written) == sorted(
        ["first", *(f"task-{number}" for number in range(crowd.size))]
    )


def in_registry(address: str, place: Path, size: int) -> Crowd:
    return Crowd(Workspaces(place, f"{address}/crowd/{uuid.uuid4().hex}:ws"), size)


def test_agents_at_one_layout_all_arrive(tmp_path: Path) -> None:
    crowd = Crowd(Workspaces(tmp_path), FEW)
    crowd.prepare()
    check_all_arrived(crowd)


def test_agents_at_one_registry_all_arrive(registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crowd = in_registry(registry, tmp_path, MANY)
    crowd.prepare()
    requests = check_all_arrived(crowd)
    with capsys.disabled():
        print(f"\n{MANY} agents: {statistics.median(requests):.0f} requests in the median, {max(requests)} at most")
    assert statistics.median(requests) <= REQUESTS


def test_killed_agents_at_one_layout_leave_all_or_nothing(tmp_path: Path) -> None:
    crowd = Crowd(Workspaces(tmp_path), FEW)
    crowd.prepare()
    check_killed(crowd, 1.5)


def test_killed_agents_at_one_registry_leave_all_or_nothing(registry: str, tmp_path: Path) -> None:
    crowd = in_registry(registry, tmp_path, MANY)
    crowd.prepare()
    check_killed(crowd, MANY / 8)


def test_interpreters_of_their_own_all_arrive(tmp_path: Path) -> None:
    """The same without the fork: `python -m agent`, as a pod starts it."""
    crowd = Crowd(Workspaces(tmp_path), 6)
    crowd.prepare()
    running = []
    for number in range(6):
        words = [crowd.workspaces.target, str(tmp_path / f"w{number}"), "--state", str(tmp_path / f".state-w{number}")]
        command = [sys.executable, "-m", "agent", "push", *words, "--lane", f"task-{number}", "--quiet"]
        running.append(subprocess.Popen(command, cwd=TOP))
    assert [each.wait(60) for each in running] == [0] * 6
    assert crowd.pull("all") == crowd.tree(set(range(6)))
    assert crowd.lacking() == set()


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_umoci_unpacks_what_a_crowd_pushed(tmp_path: Path) -> None:
    crowd = Crowd(Workspaces(tmp_path), FEW, gzip=True)
    crowd.prepare()
    assert crowd.run() == [0] * FEW
    tree = crowd.pull("all")
    assert tree == crowd.tree(set(range(FEW)))
    unpacked = tmp_path / "unpacked"
    subprocess.run(
        ["umoci", "unpack", "--image", crowd.workspaces.target.removeprefix("oci:"), str(unpacked)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert on_disk(os.fsencode(unpacked / "rootfs")) == on_disk(crowd.workspaces.at("all"))
