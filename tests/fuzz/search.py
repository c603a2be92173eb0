"""Looking for input that a reader answers with anything but a result or a declared error."""

from __future__ import annotations

import atexit
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import agent
from agent.cli.terminal.failure import describe
from agent.errors import AgentError
from tests.fuzz.mutate import Mutate

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 2.0
"""Of the processor, that one input may take."""
MEMORY = 512 << 20
"""Bytes that all of them together may take."""
_CODE = str(Path(agent.__file__).parent)
_SHORTENING = 10.0


@dataclass(frozen=True)
class Target:
    """A reader of one kind of bytes.

    Attributes:
        run: reads, and checks that what it got says the same when it is written again, or to another reader.
        seeds: what it reads without an error, the beginning of all that is tried.
        may_raise: the declared errors that fit such bytes.
        tries: how many inputs a run of all tests has time for.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    may_raise: tuple[type[AgentError], ...] = ()
    tries: int = 1500

    def corpus(self) -> list[Path]:
        """Return the files with what once was answered wrongly."""
        return sorted((CORPUS / self.name).glob("*"))

    def check(self, data: bytes) -> bool:
        """Say whether the reader takes `data`, or refuses it as it should.

        Raises:
            AssertionError: it does neither, or not in bounded time and memory.
        """
        try:
            with bounded():
                self.run(data)
            return True
        except self.may_raise as error:
            text = describe(error).text()
            assert text.isprintable() and error.remedy and len(text) < 1000, text
            return False
        except BaseException as error:
            raise AssertionError(f"{self.name}: {type(error).__name__}: {error}") from error


@contextmanager
def bounded() -> Iterator[None]:
    """Let what is inside take `SECONDS` of the processor, and `MEMORY` more than there is."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before, limits = signal.signal(signal.SIGVTALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


@dataclass
class Search:
    """Tries inputs, one made of another. The same seed tries the same.

    Attributes:
        tried: how many inputs so far.
        taken: how many of them the reader took.
        pool: what others are made of.
    """

    target: Target
    seed: int
    tried: int = 0
    taken: int = 0
    pool: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)
        self.pool = [*self.target.seeds(), *(path.read_bytes() for path in self.target.corpus())]

    def run(self, count: int) -> None:
        """Try `count` inputs that are made of the seeds and the corpus."""
        for _ in range(count):
            self._try(self._next())

    def explore(self, seconds: float) -> None:
        """Try for some time; whatever reaches a line by a new way is made of, too."""
        reached = Reached()
        for data in self.pool:
            with reached:
                self._try(data)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            data, before = self._next(), len(reached.ways)
            with reached:
                self._try(data)
            if len(reached.ways) > before:
                self.pool.append(data)

    def _next(self) -> bytes:
        # Half of the time what was found last, which others have been made of least.
        parent = self._chance.choice(self.pool[-8:] if self._chance.randrange(2) else self.pool)
        return self.target.mutate(parent, self._chance)

    def _try(self, data: bytes) -> None:
        self.tried += 1
        try:
            self.taken += self.target.check(data)
        except AssertionError as error:
            found = shortened(self.target, data, _gist(error))
            raise AssertionError(
                f"{error}\nseed {self.seed}, kept in {keep(self.target, found)}: {found[:300]!r}"
            ) from error


class Reached:
    """A context that notes by which ways the lines of the program are reached, in one thread.

    Attributes:
        ways: (code, line before, line).
    """

    def __init__(self) -> None:
        self.ways: set[tuple[int, int, int]] = set()

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._call)

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if not code.co_filename.startswith(_CODE):
            return None
        ways, key, last = self.ways, id(code), 0

        def line(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
            nonlocal last
            ways.add((key, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line


def shortened(target: Target, data: bytes, gist: str) -> bytes:
    """Return as little of `data` as still fails in this way, if that is found soon."""
    until, size = time.monotonic() + _SHORTENING, max(1, len(data) // 2)
    while time.monotonic() < until:
        at, before = 0, len(data)
        while at < len(data) and time.monotonic() < until:
            fewer = data[:at] + data[at + size :]
            if _failure(target, fewer) == gist:
                data = fewer
            else:
                at += size
        if size == 1 and len(data) == before:
            break
        size = max(1, size // 2)
    return data


def _failure(target: Target, data: bytes) -> str:
    try:
        target.check(data)
    except AssertionError as error:
        return _gist(error)
    return ""


def _gist(error: AssertionError) -> str:
    return str(error)[:50]


def keep(target: Target, data: bytes) -> Path:
    """Write `data` to the corpus."""
    path = CORPUS / target.name / sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def own_place() -> Path:
    """Make a directory that is gone when this process ends."""
    place = tempfile.mkdtemp(prefix="instep-fuzz-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)
