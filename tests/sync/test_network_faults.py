"""A registry that fails once, at each request in turn, and at random: nothing is lost, wrong or doubled (G1, G6, G8).

`INSTEP_SOAK=seconds` (see `make soak`) looks for so long for random faults that break this; `INSTEP_SEED` is the seed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest

import agent.sync.upload.pack_layer
from agent.errors import AgentError, IntegrityError, UnavailableError
from agent.sync.operation.report import PullReport, PushReport
from tests.fakes.contents import noise, write
from tests.fakes.hurried import SILENCE, HurriedWorkspaces
from tests.fakes.plain import applied, on_disk
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.fakes.trees import snapshot, unlike

STEP = 1 if FULL else 5
"""A plain run fails at every so many requests."""
SOME = 6
"""Rounds of random faults in a plain run."""
STREAMED = 3000
"""Bytes from which on a layer is streamed here, so that the trees may be tiny."""
pytestmark = [pytest.mark.soak, pytest.mark.timeout(120 + 2 * SOAK)]

PASSING = (
    Fault(429, {"Retry-After": "1"}),
    Fault(500),
    Fault(502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"),
    Fault(503, body=b'{"errors":[{"code":"UNAVAILABLE","message":"later"}]}'),
)
"""They are all one to the agent: a plain run takes them by turns, a long one each at each request."""
FAULTS: dict[str, Fault] = {
    "cut before it is passed on": Fault(cut_request=0),
    "cut in the middle of the request": Fault(cut_request=100),
    "cut before the answer": Fault(lose_answer=True),
    "cut in the middle of the answer": Fault(cut_response=20),
    "shorter, and says so": Fault(cut_response=20, claim="part"),
    "shorter, and says nothing": Fault(cut_response=20, claim="none"),
    "done twice": Fault(twice=True),
    "late": Fault(delay=2 * SILENCE),
}
KINDS: dict[str, Sequence[Fault]] = {name: (fault,) for name, fault in FAULTS.items()}
KINDS |= {str(fault.status): (fault,) for fault in PASSING} if SOAK else {"429, 500, 502 or 503": PASSING}
UNNOTICED = {"shorter, and says so", "shorter, and says nothing", "done twice"}
"""Kinds that trying again need not heal: what is wrong shows late, or never, to whoever reads the connection."""


def fits(fault: Fault, seen: Seen) -> bool:
    """Say whether a fault can happen to a request at all."""
    if fault.cut_request:
        return int(seen.headers.get("Content-Length") or 0) > fault.cut_request or "Transfer-Encoding" in seen.headers
    return fault.cut_response is None or seen.method == "GET"


class Trouble:
    """Does `fault` to the request that comes after `skip` others which it fits, counted from `arm`."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.fault: Fault | None = None
        self.skip = 0
        self.struck: list[Seen] = []
        proxy.add_rule(self.plan)

    def arm(self, fault: Fault, skip: int) -> None:
        self.fault, self.skip, self.struck = fault, skip, []

    def plan(self, seen: Seen) -> Fault | None:
        if self.fault is None or not fits(self.fault, seen):
            return None
        self.skip -= 1
        if self.skip >= 0:
            return None
        fault, self.fault = self.fault, None
        self.struck.append(seen)
        return fault

    def disarm(self) -> bool:
        """Stop, and say whether it came to it."""
        self.fault = None
        return bool(self.struck)


@dataclass
class World:
    """Agents that reach a registry through a proxy which breaks things, beside others that reach it plainly.

    Attributes:
        ids: of all changes before what is under way.
    """

    place: Path
    proxy: FaultProxy
    name: str = field(default_factory=lambda: f"faults/{uuid.uuid4().hex}:ws")
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.troubled = HurriedWorkspaces(self.place, f"{self.proxy.address}/{self.name}")
        self.plain = HurriedWorkspaces(self.place, f"{self.proxy.upstream}/{self.name}")

    def begin(self) -> None:
        top = self.troubled.at("a")
        write(top, b"d/one", b"one")
        write(top, b"d/large", noise(9000))
        os.link(top + b"/d/one", top + b"/two")
        os.symlink(b"d/one", top + b"/link")
        self.troubled.push("a")
        self.ids = self.plain.ids()

    def change(self, number: int) -> None:
        top = self.troubled.at("a")
        write(top, b"d/one", b"%d" % number)
        write(top, b"new-%d/file" % number, noise(STREAMED + 1000, number))
        if number:
            shutil.rmtree(top + b"/new-%d" % (number - 1))

    def attempt(self, act: Callable[[], PullReport | PushReport]) -> PullReport | PushReport | AgentError:
        """Do something that faults may stop; only an error that says what happened may come of that."""
        try:
            return act()
        except (UnavailableError, IntegrityError) as error:
            assert error.exit_code in (21, 30)
            return error

    def push(self) -> PullReport | PushReport | AgentError:
        return self.attempt(lambda: self.troubled.push("a"))

    def check_pushed(self, old: dict[bytes, object], said: object, which: str) -> None:
        """Check what a push through faults left, and that it is done by a plain rerun if it is not."""
        before, new = self.ids, snapshot(self.plain.at("a"))
        self.ids = self.plain.ids()
        if isinstance(said, PushReport):
            assert self.ids == [*before, said.id], which
            self.check_tree(new, which)
            return
        assert self.ids[: len(before)] == before, which
        assert len(self.ids) <= len(before) + 1, which
        self.check_tree(old if self.ids == before else new, which)
        again = self.troubled.push("a")
        self.ids = self.plain.ids()
        assert len(self.ids) == len(before) + 1, which
        assert again.id in (None, self.ids[-1]), which
        assert self.troubled.changed("a") == [], which
        self.head_is_whole()
        self.check_tree(new, which)

    def check_tree(self, expected: dict[bytes, object], which: str) -> None:
        self.plain.pull("z")
        assert unlike(expected, snapshot(self.plain.at("z"))) == {}, which

    def check_pulled(self, name: str, said: object, which: str) -> None:
        """Check what a pull through faults left, and that it is done by a plain rerun."""
        expected = snapshot(self.plain.at("a"))
        if isinstance(said, PullReport):
            assert unlike(expected, snapshot(self.troubled.at(name))) == {}, which
            assert self.troubled.changed(name) == [], which
        self.troubled.pull(name)
        assert unlike(expected, snapshot(self.troubled.at(name))) == {}, which
        assert self.troubled.changed(name) == [], which

    def head_is_whole(self) -> None:
        """Check that head, applied by plain rules, is the workspace."""
        store = self.plain.site("a").store
        assert applied(store, "ws") == on_disk(self.plain.at("a"))

    def close(self) -> None:
        self.troubled.close()
        self.plain.close()


@pytest.fixture
def world(registry: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(agent.sync.upload.pack_layer, "BUFFERED", STREAMED)
    with FaultProxy(registry) as proxy:
        made = World(place, proxy)
        yield made
        made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_request_of_a_push_leaves_one_change(world: World, kind: str) -> None:
    world.begin()
    trouble = Trouble(world.proxy)
    number, at, struck = 0, 0, True
    while struck:
        old = snapshot(world.plain.at("a"))
        world.change(number)
        trouble.arm(KINDS[kind][number % len(KINDS[kind])], at)
        said = world.push()
        struck = trouble.disarm()
        which = f"{kind}, request {at}: {trouble.struck}, {said}"
        if kind not in UNNOTICED:
            assert isinstance(said, PushReport), which
        world.check_pushed(old, said, which)
        number, at = number + 1, at + STEP
    assert world.troubled.push("a").id is None
    assert world.troubled.changed("a") == []
    world.head_is_whole()
    assert at > 3


@pytest.mark.parametrize("anew", [True, False] if SOAK else [True], ids=lambda anew: "anew" if anew else "on top")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cut in the middle of the request"])
def test_a_fault_at_any_request_of_a_pull_leaves_the_tree(world: World, kind: str, anew: bool) -> None:
    world.begin()
    trouble = Trouble(world.proxy)
    number, at, struck = 0, 0, True
    while struck:
        world.change(number)
        world.troubled.push("a")
        name = f"b{number}" if anew else "b"
        trouble.arm(KINDS[kind][number % len(KINDS[kind])], at)
        said = world.attempt(lambda name=name: world.troubled.pull(name))
        struck = trouble.disarm()
        which = f"{kind}, request {at}: {trouble.struck}, {said}"
        if kind not in UNNOTICED:
            assert isinstance(said, PullReport), which
        world.check_pulled(name, said, which)
        number, at = number + 1, at + STEP
    assert at > 3


def test_random_faults_at_once_leave_each_change_once(world: World) -> None:
    """Up to a third of all requests fail, in all ways."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    world.begin()
    share = [0.0]

    def plan(seen: Seen) -> Fault | None:
        fault = chance.choice([*FAULTS.values(), *PASSING])
        return fault if chance.random() < share[0] and fits(fault, seen) else None

    world.proxy.add_rule(plan)
    until, number, failed = time.monotonic() + SOAK, 0, 0
    while number < SOME or time.monotonic() < until:
        which = f"seed {SEED}, round {number}"
        old = snapshot(world.plain.at("a"))
        world.change(number)
        share[0] = chance.choice([0.02, 0.1, 0.33])
        said = world.push()
        share[0] = 0.0
        world.check_pushed(old, said, f"{which}: {said}")
        share[0] = chance.choice([0.02, 0.1, 0.33])
        seen = world.attempt(lambda: world.troubled.pull("b"))
        share[0] = 0.0
        world.check_pulled("b", seen, f"{which}: {seen}")
        failed += isinstance(said, AgentError) + isinstance(seen, AgentError)
        number += 1
    print(f"{number} rounds, {failed} of {2 * number} operations gave up")
    world.head_is_whole()


def test_processes_of_their_own_get_through_a_registry_that_fails_every_third_request(world: World) -> None:
    world.begin()
    world.change(0)
    kinds = cycle([*PASSING[1:], Fault(cut_request=0), Fault(lose_answer=True), Fault(cut_response=20)])

    def plan(seen: Seen) -> Fault | None:
        return None if seen.number % 3 else next(kinds)

    world.proxy.add_rule(plan)
    for command, name in (("push", "a"), ("pull", "b")):
        top, state = os.fsdecode(world.plain.at(name)), str(world.place / f".state-{name}")
        words = [command, world.troubled.target, top, "--state", state, "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "agent", *words],
            cwd=Path(__file__).parent.parent.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
    assert len(world.plain.ids()) == 2
    assert unlike(snapshot(world.plain.at("a")), snapshot(world.plain.at("b"))) == {}
