"""The session of one run of a command: its stores, directory, display and output, opened once and closed at the end."""

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
from agent.sync.operation.workspace_context import WorkspaceContext, check_outside
from agent.workspace.state.state_home import make_state_home, state_home


@dataclass
class Session:
    """One run of a command.

    Attributes:
        json: whether the command prints one JSON object instead of text.
        quiet: whether progress and summary are left out.
        plain_http: whether registries are accessed by HTTP without TLS.
        ca_file: certificates of registries to trust besides the system's.
        patience: seconds of retries while no request makes progress.
        limits: limits for images from others.
        notices: the warnings of the run, for its JSON object.
        began: when the command began, in the seconds of `time.perf_counter`.
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
        """Yield a function that opens the repository of a reference. Each is opened once; all are closed at the end."""
        patience = Patience(self.patience, notify=lambda text: (self._shown or self.display()).notice(text))
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
    def context(
        self, target: Reference, directory: str, state: str | None, *, retry: str = "run it again"
    ) -> Iterator[WorkspaceContext]:
        """Yield the context of a directory and a target.

        Args:
            target: the target.
            directory: the directory.
            state: the directory of the state, None for the usual place.
            retry: what to do if a signal ends the command before the directory is changed.

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
            yield self._context(target, directory, home, open_once, progress)

    @contextmanager
    def target_context(self, target: Reference) -> Iterator[WorkspaceContext]:
        """Yield the context of a target alone, for a command without a directory."""
        with self.stores() as open_once, Closing(self.display()) as progress:
            yield self._context(target, "", "", open_once, progress)

    @contextmanager
    def shared_context(
        self, target: Reference, directory: str, state: str, open_store: Callable[[Reference], Store]
    ) -> Iterator[WorkspaceContext]:
        """Yield the context of one of several directories, with a state that every user may read and change."""
        with Closing(self.display()) as progress, explain_signal(state, directory, "run it again"):
            yield self._context(target, directory, state, open_store, progress)._replace(shares_state=True)

    @contextmanager
    def remembered_context(self, directory: str, state: str | None) -> Iterator[WorkspaceContext]:
        """Yield the context of a directory and of the target in its state.

        Raises:
            DivergedError: the directory has no state.
        """
        from agent.sync.local.state_files import target_of_state

        home = state_home(os.environ, directory, state)
        target = target_of_state(home) if os.path.isdir(home) else None
        if target is None:
            raise DivergedError(
                "nothing was pulled into this directory or pushed from it",
                subject=directory,
                remedy="pull a workspace into it, or name the --state that you pulled with",
            )
        with self.context(parse_reference(target), directory, state) as context:
            yield context

    def pause(self, context: WorkspaceContext) -> None:
        """Remove the progress from the screen. The next stage shows it again."""
        cast(Display, context.progress).close()
        flush()

    def restart(self) -> None:
        """Begin the next of several reports, with its own seconds and notices."""
        self.began = time.perf_counter()
        self.notices.clear()

    def remarks(self) -> dict[str, Any]:
        """Return the fields that the JSON object of each command has besides its result."""
        return {"notices": self.notices, "seconds": round(self.took, 3)}

    def display(self) -> Display:
        """Return a new display, which shows progress, and prints or collects warnings."""
        self._shown = choose_display(quiet=self.quiet, collected=self.notices if self.json else None)
        return self._shown

    def print_json(self, value: dict[str, Any]) -> None:
        """Print the command's JSON object."""
        write(json.dumps(value).encode() + b"\n")
        flush()

    def print_lines(self, lines: Iterator[str] | list[str]) -> None:
        """Print lines of text."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        for line in lines:
            write((line + "\n").encode(encoding, "backslashreplace"))

    def say(self, line: str) -> None:
        """Print a line on standard error, unless the command is quiet or prints JSON."""
        if not (self.quiet or self.json):
            click.echo(line, err=True)

    def _context(
        self,
        target: Reference,
        directory: str,
        state: str,
        open_store: Callable[[Reference], Store],
        progress: Display,
    ) -> WorkspaceContext:
        def open_outside(reference: Reference) -> Store:
            if directory:
                check_outside(reference, directory)
            return open_store(reference)

        return WorkspaceContext(
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
    """Add a note about the directory's state to the exception that a signal raises. `agent.cli.main` prints it."""
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
    """Return the reference with the absolute path of a layout, because the state records it."""
    if isinstance(reference, LayoutReference):
        return reference._replace(path=os.path.abspath(reference.path))
    return reference


def default_lane() -> str:
    """Return `user@host`. A user id without a name, as in many clusters, becomes `uid-<number>`."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid-{os.getuid()}"
    return f"{user}@{os.uname().nodename}"
