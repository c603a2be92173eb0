"""An agent that does one call after the other, each when it is told to, and may be killed at any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from agent.errors import AgentError

HEAD = "main"
RETURNED = "*returned*"
"""Stands for the fact that a push has returned: no tag, but what a pull that begins later may count on."""
LISTED = "*listed*"
TARGET = f"registry.test/team/ws:{HEAD}"


class Killed(BaseException):
    """Raised in an actor that is killed. What it would do on its way out is undone by its crash image."""


class Over(BaseException):
    """Raised in an actor whose run nobody follows any longer."""


@dataclass(frozen=True)
class Call:
    """What an actor is about to do.

    Attributes:
        tag: or the digest that it names; empty where it touches nothing that others may change.
        digest: of the manifest that it puts.
    """

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def is_list(self) -> bool:
        return self.name == "list"

    @property
    def is_view(self) -> bool:
        """Whether it reads head or an entry. An own entry is asked for, too, but before it is there."""
        return self.name == "get" and (self.tag == HEAD or "._e" in self.tag)

    @property
    def is_put(self) -> bool:
        return self.name == "put"

    @property
    def is_delete(self) -> bool:
        return self.name == "delete"

    def uses(self) -> dict[str, bool]:
        """Return what it depends on, each with whether it changes that."""
        if self.is_list:
            return {LISTED: False}
        if not self.tag:
            return {}
        if self.is_put and self.digest:
            listed = {LISTED: True} if "._e" in self.tag or "._c" in self.tag else {}
            return {self.tag: True, self.digest: True, **listed}
        return {self.tag: self.is_put or self.is_delete}


class Actor:
    """One after the other, the lives of an agent on one machine: what it does until it ends or is killed.

    Args:
        lives: what it runs; after it was killed, the next.
        died: called when it was killed at once, before anything is cleaned up; what it returns is called afterwards.

    Attributes:
        call: what it is about to do, None when it is done.
        learnt: of all that its calls told it.
        failures: the errors that its lives ended with.
    """

    def __init__(self, name: str, lives: list[Callable[[], None]], died: Callable[[], Callable[[], None]]) -> None:
        self.name = name
        self.call: Call | None = None
        self.learnt = sha256(name.encode())
        self.failures: list[AgentError] = []
        self.crash: BaseException | None = None
        self._lives = lives
        self._died = died
        self._restore: Callable[[], None] | None = None
        self._turn = threading.Semaphore(0)
        self._ending = ""
        self._over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self, stopped: threading.Semaphore) -> None:
        self._stopped = stopped
        self._thread.start()

    def go(self, ending: str, stopped: threading.Semaphore) -> None:
        """Let its call end so, and wait for its next."""
        self._ending = ending
        self._turn.release()
        stopped.acquire()
        if self.crash is not None:
            raise self.crash

    def abandon(self) -> None:
        self._over = True
        if self.call is not None:
            self._turn.release()
        self._thread.join()

    def ask(self, call: Call) -> str:
        """Stop before a call; return how it shall end. Runs in the actor's thread."""
        if self._over:
            raise Over
        self.call = call
        self._stopped.release()
        self._turn.acquire()
        if self._over:
            raise Over
        if self._ending == "dies":
            self.die()
        self.learnt.update(f"{call}\n".encode())  # that it happened; what it told comes after
        return self._ending

    def die(self) -> None:
        self._restore = self._died()
        raise Killed

    def _run(self) -> None:
        try:
            for life in self._lives:
                try:
                    life()
                    break
                except Killed:
                    self.learnt.update(b"killed")
                    assert self._restore is not None
                    self._restore()
                except AgentError as error:
                    self.failures.append(error)
                    break
        except Over:
            pass
        except BaseException as crash:  # the scheduler raises it in the test's own thread
            self.crash = crash
        self.call = None
        if not self._over:
            self._stopped.release()
