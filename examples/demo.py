"""Tasks share a workspace through an image layout on disk, one after the other and at the same time: `make demo`.

The workspace is this interpreter's standard library. Every command that is shown is run, as a user would run it.
Whether the trees are equal is decided by a walker of this file's own, not by the agent.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TARGET = "oci:registry:demo"
BOLD, DIM, RESET = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class FailedError(Exception):
    """Something is not as it should be."""


def main() -> int:
    """Run the demo and return its exit code."""
    agent = Path(sys.executable).with_name("agent")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="instep-demo-") as place:
        demo = Demo(Path(place), agent)
        try:
            demo.run()
        except FailedError as failure:
            print(f"\n{BOLD}FAILED{RESET}: {failure}", file=sys.stderr)
            return 1
        stored = sum(path.stat().st_size for path in (Path(place) / "registry").rglob("*") if path.is_file())
    print(f"\n{BOLD}All trees are equal, down to the last attribute.{RESET}")
    print(f"{demo.paths:,} paths, {mib(demo.size)} of files, {mib(stored)} stored in five layers,", end=" ")
    print(f"{demo.agent_seconds:.1f} s in the agent, {time.perf_counter() - began:.1f} s in all")
    return 0


class Demo:
    """The tasks, in a directory of their own."""

    def __init__(self, place: Path, agent: Path) -> None:
        self.place = place
        self.agent = agent
        self.agent_seconds = 0.0
        self.paths = self.size = 0
        self.environ = {**os.environ, "INSTEP_STATE": str(place / "state")}

    def run(self) -> None:
        """Fill, change, compare."""
        title("Task 1 fills a workspace with the standard library, and pushes it")
        first = self.place / "task-1"
        fill(first)
        self.agent_runs("push", TARGET, "task-1", "--lane", "demo/fetch", "-m", "standard library")

        title("Task 2 pulls it elsewhere, changes it, and pushes one small layer")
        second = self.place / "task-2"
        self.agent_runs("pull", TARGET, "task-2")
        self.compare(first, second)
        change(second)
        self.agent_runs("push", TARGET, "task-2", "--lane", "demo/build", "-m", "port to the moon")

        title("Task 3 pulls the result; task 1 catches up, fetching the small layer only")
        third = self.place / "task-3"
        self.agent_runs("pull", TARGET, "task-3")
        self.compare(second, third)
        self.agent_runs("pull", TARGET, "task-1")
        self.compare(second, first)

        title("Tasks 4 and 5 depend on task 3, not on each other: they run and push at the same time")
        edit(second, "tests.txt", "all green\n")
        edit(third, "lint.txt", "no findings\n")
        edit(third, "this.py", "# linted\n")
        self.agents_race(
            ("push", TARGET, "task-2", "--lane", "demo/test", "-m", "run the tests"),
            ("push", TARGET, "task-3", "--lane", "demo/lint", "-m", "lint"),
        )

        title("Task 6, which saw neither, has its own idea of this.py: nothing is lost, and it is told")
        edit(first, "this.py", "# translated\n")
        edit(first, "docs.txt", "translated\n")
        self.agent_runs("push", TARGET, "task-1", "--lane", "demo/docs", "-m", "translate")

        title("Everything arrived: every directory becomes the sum of the three, and every pull tells of the conflict")
        for name in ("task-1", "task-2", "task-3"):
            self.agent_runs("pull", TARGET, name, quiet=name != "task-1")
        self.compare(first, second)
        self.compare(second, third)
        for name in ("tests.txt", "lint.txt", "docs.txt"):
            if not (third / name).exists():
                raise FailedError(f"{name} is lost")
        self.agent_runs("log", TARGET)

    def agents_race(self, *commands: tuple[str, ...]) -> None:
        """Show commands, run them at the same time, and show how each ended."""
        began = time.perf_counter()
        running = [
            subprocess.Popen([self.agent, *words], cwd=self.place, env=self.environ, stderr=subprocess.PIPE, text=True)
            for words in commands
        ]
        told = [process.communicate()[1] for process in running]
        self.agent_seconds += time.perf_counter() - began
        for words, process, text in zip(commands, running, told, strict=True):
            print(f"{DIM}${RESET} agent {shlex.join(words)} &", flush=True)
            self.show(words[0], process.returncode, text)

    def agent_runs(self, *words: str, quiet: bool = False) -> None:
        """Show a command, run it, and count its time; `quiet` shows nothing of what it says."""
        print(f"{DIM}${RESET} agent {shlex.join(words)}", flush=True)
        began = time.perf_counter()
        done = subprocess.run(
            [self.agent, *words], cwd=self.place, env=self.environ, stderr=subprocess.PIPE, text=True, check=False
        )
        self.agent_seconds += time.perf_counter() - began
        self.show(words[0], done.returncode, "" if quiet and not done.returncode else done.stderr)

    def show(self, command: str, code: int, told: str) -> None:
        """Show what a command said, and fail if it did."""
        for line in told.splitlines():
            # Without a terminal the agent prints a line for each stage; its last one says it all.
            if code or line.startswith(("agent: pulled", "agent: pushed", "agent: warning")):
                print(f"  {line}", flush=True)
        if code:
            raise FailedError(f"agent {command} ended with {code}")

    def compare(self, ours: Path, theirs: Path) -> None:
        """Compare two trees, all attributes of all paths."""
        left, right = dict(walk(ours)), dict(walk(theirs))
        self.paths, self.size = len(right), sum(int(str(row["size"])) for row in right.values())
        for path in sorted(left.keys() | right.keys()):
            if left.get(path) != right.get(path):
                raise FailedError(
                    f"{ours.name} and {theirs.name} differ at {path!r}:\n  {left.get(path)}\n  {right.get(path)}"
                )
        print(f"  {ours.name} and {theirs.name} are equal: {len(right):,} paths compared")


def walk(root: Path) -> Iterator[tuple[bytes, dict[str, object]]]:
    """Yield every path below `root` with all that can be seen of it."""
    top = os.fsencode(root)
    names: dict[tuple[int, int], list[bytes]] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            full = os.path.join(folder, name)
            about = os.lstat(full)
            path = os.path.relpath(full, top)
            row: dict[str, object] = {
                "mode": stat.filemode(about.st_mode),
                "owner": (about.st_uid, about.st_gid),
                "mtime": about.st_mtime_ns,
                "size": 0,
                "xattrs": {key: os.getxattr(full, key, follow_symlinks=False) for key in xattrs(full)},
            }
            if stat.S_ISREG(about.st_mode):
                content = Path(os.fsdecode(full)).read_bytes()
                names.setdefault((about.st_dev, about.st_ino), []).append(path)
                row |= {
                    "size": about.st_size,
                    "content": hashlib.sha256(content).hexdigest(),
                    "links": names[about.st_dev, about.st_ino],
                }
            elif stat.S_ISLNK(about.st_mode):
                row["target"] = os.readlink(full)
            yield path, row
    for group in names.values():
        group.sort()


def xattrs(path: bytes) -> list[str]:
    """Return the names of a path's user extended attributes."""
    try:
        return [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
    except OSError:
        return []


def fill(root: Path) -> None:
    """Copy the standard library, and add what a workspace may hold besides plain files."""
    library = sysconfig.get_path("stdlib")
    skipped = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__")
    shutil.copytree(library, root, symlinks=True, ignore=skipped)
    (root / "empty").mkdir()
    (root / "dangling").symlink_to("nowhere")
    os.link(root / "os.py", root / "os-again.py")
    os.mkfifo(root / "pipe", 0o640)
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o4751)
    odd = os.path.join(os.fsencode(root), b"not \xff UTF-8,\nand two lines")
    with open(odd, "wb") as file:
        file.write(b"\0" * 1000)
    os.utime(odd, ns=(1, 1_234_567_890_123_456_789))
    attempt(lambda: os.setxattr(odd, "user.origin", b"demo"))


def change(root: Path) -> None:
    """Change, delete and add, in every way that a layer must tell apart."""
    with (root / "this.py").open("a") as file:
        file.write("# and one more line\n")
    shutil.rmtree(root / "wsgiref")
    (root / "abc.py").unlink()
    shutil.rmtree(root / "xmlrpc")
    (root / "xmlrpc").symlink_to("http")
    (root / "dangling").unlink()
    (root / "dangling").mkdir(mode=0o700)
    (root / "os-again.py").unlink()
    (root / "os-again.py").write_text("no longer a link\n")
    (root / "tool").chmod(0o755)
    os.utime(root / "string.py", ns=(0, 1))
    (root / "moon" / "base").mkdir(parents=True)
    (root / "moon" / "base" / "flag.txt").write_text("hello\n")


def edit(root: Path, name: str, text: str) -> None:
    """Add a line to a file."""
    with (root / name).open("a") as file:
        file.write(text)


def attempt(action: Callable[[], None]) -> None:
    """Do what not every file system can."""
    try:
        action()
    except OSError:
        print("  (this file system has no extended attributes)")


def title(text: str) -> None:
    """Print a headline."""
    print(f"\n{BOLD}{text}{RESET}", flush=True)


def mib(size: int) -> str:
    """Return a size in MiB."""
    return f"{size / (1 << 20):.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
