"""The wiring: what one run of a command needs from outside, opened once and closed at the end."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import click

from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.cli.terminal.output import flush, write
from agent.cli.terminal.progress import Closing, Display, choose_display
from agent.core.spelling.reference import LayoutReference, Reference, parse_reference
from agent.errors import DivergedError
from agent.store import Patience, StoreOptions, open_store
from agent.store.network.retrying import PATIENCE_S
from agent.store.port import Store
from agent.sync.operation.workspace_context import Site, check_outside
from agent.workspace.state.state_home import make_state_home, state_home


@dataclass
class Session:
    """One run of a command.

    Attributes:
        json: whether the command prints one JSON object instead of text.
        quiet: whether progress and summary are left out.
        patience: seconds that the command waits for its stores while nothing moves.
        limits: how much an image may ask for.
        notices: the warnings of the run, where a machine will read them.
    """

    json: bool = False
    quiet: bool = False
    plain_http: bool = False
    ca_file: str | None = None
    patience: float = PATIENCE_S
    limits: ArchiveLimits = DEFAULT_LIMITS
    notices: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    _shown: Display | None = None

    @property
    def took(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self.began

    @contextmanager
    def stores(self) -> Iterator[Callable[[Reference], Store]]:
        """Give a function that opens the repository of a reference, each one once; closes them all."""
        patience = Patience(self.patience, tell=lambda text: (self._shown or self.display()).notice(text))
        options = StoreOptions(self.plain_http, self.ca_file, os.environ, patience)
        opened: dict[Reference, Store] = {}

        def open_once(reference: Reference) -> Store:
            repository = reference._replace(tag=None, digest=None)
            if repository not in opened:
                opened[repository] = open_store(reference, options)
            return opened[repository]

        try:
            yield open_once
        finally:
            for store in opened.values():
                store.close()

    @contextmanager
    def site(
        self, target: Reference, directory: str, state: str | None, *, retry: str = "run it again"
    ) -> Iterator[Site]:
        """Give the site of a directory and a target.

        Args:
            target: the target.
            directory: the directory.
            state: where it is remembered, if not in the usual place.
            retry: how to go on where a signal ends the work, and the directory is as it was.

        Raises:
            UsageError: the target is a layout in that directory.
        """
        check_outside(target, directory)
        home = state_home(os.environ, directory, state)
        make_state_home(home)
        with (
            self.stores() as open_once,
            Closing(self.display()) as progress,
            explain_signal(home, directory, retry),
        ):
            yield self._site(target, directory, home, open_once, progress)

    @contextmanager
    def target_site(self, target: Reference) -> Iterator[Site]:
        """Give the site of a target alone, for what touches no directory."""
        with self.stores() as open_once, Closing(self.display()) as progress:
            yield self._site(target, "", "", open_once, progress)

    @contextmanager
    def shared_site(
        self, target: Reference, directory: str, state: str, open_store: Callable[[Reference], Store]
    ) -> Iterator[Site]:
        """Give the site of one of several directories, with a state that every user may read and change."""
        with Closing(self.display()) as progress, explain_signal(state, directory, "run it again"):
            yield self._site(target, directory, state, open_store, progress)._replace(shares_state=True)

    @contextmanager
    def remembered_site(self, directory: str, state: str | None) -> Iterator[Site]:
        """Give the site of a directory and the target that it was pulled from or pushed to last.

        Raises:
            DivergedError: nothing is remembered of the directory.
        """
        from agent.sync.local.state_files import remembered_target

        home = state_home(os.environ, directory, state)
        target = remembered_target(home) if os.path.isdir(home) else None
        if target is None:
            raise DivergedError(
                "nothing was pulled into this directory or pushed from it",
                subject=directory,
                remedy="pull a workspace into it, or name the --state that you pulled with",
            )
        with self.site(parse_reference(target), directory, state) as site:
            yield site

    def pause(self, site: Site) -> None:
        """Take progress off the screen; the next stage brings it back."""
        cast(Display, site.progress).close()
        flush()

    def restart(self) -> None:
        """Begin the next of several reports: its seconds and notices are its own."""
        self.began = time.perf_counter()
        self.notices.clear()

    def remarks(self) -> dict[str, Any]:
        """Return what every command's object says besides its result."""
        return {"notices": self.notices, "seconds": round(self.took, 3)}

    def display(self) -> Display:
        """Return what shows progress, and collects or prints warnings."""
        self._shown = choose_display(quiet=self.quiet, collected=self.notices if self.json else None)
        return self._shown

    def print_json(self, value: dict[str, Any]) -> None:
        """Print the command's one object."""
        write(json.dumps(value).encode() + b"\n")
        flush()

    def print_lines(self, lines: Iterator[str] | list[str]) -> None:
        """Print lines of text."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        for line in lines:
            write((line + "\n").encode(encoding, "backslashreplace"))

    def say(self, line: str) -> None:
        """Tell people what was done, on standard error; machines get it in the object."""
        if not (self.quiet or self.json):
            click.echo(line, err=True)

    def _site(
        self,
        target: Reference,
        directory: str,
        state: str,
        open_store: Callable[[Reference], Store],
        progress: Display,
    ) -> Site:
        def open_outside(reference: Reference) -> Store:
            if directory:
                check_outside(reference, directory)
            return open_store(reference)

        return Site(
            target=target,
            directory=directory,
            state=state,
            open_store=open_outside,
            progress=progress,
            clock=time.time_ns,
            sleep=time.sleep,
            random=random.random,
            limits=self.limits,
            patience=self.patience,
        )


@contextmanager
def explain_signal(home: str, directory: str, retry: str) -> Iterator[None]:
    """Have whatever a signal raises say how a directory is left, for the one place where that ends (`main`)."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        from agent.sync.local.interrupted_pull import interrupted_pull

        interruption = interrupted_pull(home, directory)
        if interruption is None:
            end.add_note(f"nothing in {directory} was changed, and nothing is lost: {retry}")
        else:
            remedy = interruption.remedy(directory)
            end.add_note(f"{directory} is between two states, and nothing that was pushed is lost: {remedy}")
        raise


def absolute(reference: Reference) -> Reference:
    """Return the reference with a layout's directory spelled from the root: the state remembers it."""
    if isinstance(reference, LayoutReference):
        return reference._replace(path=os.path.abspath(reference.path))
    return reference


def default_lane() -> str:
    """Return `user@host`; a user id without a name, as in many clusters, is `uid-<number>`."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid-{os.getuid()}"
    return f"{user}@{os.uname().nodename}"
