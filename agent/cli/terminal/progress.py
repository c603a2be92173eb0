"""The progress of an operation on standard error: bars on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol

import click

from agent.cli.terminal.failure import redact
from agent.cli.terminal.report_format import amount, seconds
from agent.sync.operation.workspace_context import Progress

_STEP = 0.1  # seconds between two updates of a bar: an operation may advance a million times


class Display(Progress, Protocol):
    """A progress that can be removed from the screen. The next stage shows it again."""

    def close(self) -> None:
        """Remove the progress from the screen."""


class Silent:
    """Shows only notices, or collects them for a JSON object."""

    def __init__(self, collected: list[str] | None = None) -> None:
        self._collected = collected

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Show nothing."""

    def advance(self, amount: int) -> None:
        """Show nothing."""

    def notice(self, text: str) -> None:
        """Print a warning, or collect it."""
        if self._collected is None:
            warn(text)
        else:
            self._collected.append(redact(text))

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """One line for each completed stage, for logs."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._unit = ""
        self._done = 0
        self._began = 0.0

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Print that the last stage is complete."""
        self.close()
        self._name, self._unit, self._done, self._began = name, unit, 0, time.perf_counter()

    def advance(self, amount: int) -> None:
        """Count."""
        self._done += amount

    def notice(self, text: str) -> None:
        """Print a warning."""
        warn(text)

    def close(self) -> None:
        """Print that the last stage is complete."""
        if self._name is not None:
            took = seconds(time.perf_counter() - self._began)
            click.echo(f"agent: {self._name}: {amount(self._done, self._unit)}, {took}", err=True)
            self._name = None


class Bars:
    """One bar for the current stage. It disappears at the end."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None
        self._done = 0
        self._shown = 0.0
        self._unit = "paths"

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Replace the bar."""
        if self._bars is None:
            self._open()
        elif self._task is not None:
            self._bars.remove_task(self._task)
        self._done, self._unit, self._shown = 0, unit, 0.0
        self._task = self._bars.add_task(name, total=total, amount="")

    def advance(self, amount: int) -> None:
        """Move the bar, at most ten times a second."""
        self._done += amount
        now = time.perf_counter()
        if now - self._shown >= _STEP and self._bars is not None:
            self._shown = now
            self._show()

    def notice(self, text: str) -> None:
        """Print a warning above the bar."""
        if self._bars is None:
            warn(text)
        else:
            self._bars.console.print(f"agent: warning: {redact(text)}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar from the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._task = None

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = TextColumn("{task.description:<15}"), BarColumn(), TextColumn("{task.fields[amount]}")
        self._bars = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._bars.start()

    def _show(self) -> None:
        self._bars.update(self._task, completed=self._done, amount=amount(self._done, self._unit))


class Closing:
    """A context manager that removes a display from the screen at its end."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __enter__(self) -> Display:
        return self._display

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._display.close()


def choose_display(*, quiet: bool, collected: list[str] | None) -> Display:
    """Return the display for this process.

    Args:
        collected: the list for notices if they go into a JSON object, None to print them.
    """
    if quiet or collected is not None:
        return Silent(collected)
    return Bars() if sys.stderr.isatty() else Lines()


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"agent: warning: {redact(text)}", err=True)
