"""The group of commands, and the one place that turns errors, signals and closed pipes into exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from agent.cli.invocation.help_example import example
from agent.cli.terminal import command_exit_codes
from agent.cli.terminal.failure import Failure, describe, place_of, redact, write_failure
from agent.cli.terminal.output import abandon, flush, standard_output

# The texts of `agent --help`, so that it imports no command's module. The most used commands come first.
COMMANDS = {
    "pull": "Make a directory the workspace.",
    "push": "Publish what changed in a directory.",
    "exec": "Pull, run a command, push.",
    "step": "Pull before a Tekton task, push after it.",
    "status": "Show what changed in a directory since the last pull or push.",
    "diff": "Show what differs between two changes of a workspace.",
    "log": "Show who changed a workspace, when and what.",
    "ls": "List the paths of a workspace without pulling it.",
    "cat": "Print files of a workspace without pulling it.",
    "watch": "Push whenever a directory has come to rest after changes.",
    "squash": "Put one layer in place of many.",
    "prune": "Delete what a workspace does not need any more, or all of it.",
    "doctor": "Try what a registry can do, and say what that means.",
    "render": "Print what the Tekton controller would make of Pipelines and runs.",
    "bundle": "Keep Tekton objects in a bundle, and read them from one.",
    "controller": "Wrap the Pipelines of a cluster.",
    "completion": "Print the shell's completion script.",
}
COMPLETE_VARIABLE = "_AGENT_COMPLETE"


class Commands(click.Group):
    """Imports a command's module, `agent.cli.<name>`, when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of a name, None if there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"agent.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"agent {version('instep')}")
        ctx.exit()


@click.command(
    "agent",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("agent pull registry.example.com/team/workspace:main ./work"),
)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def agent(debug: bool) -> None:
    """Carry a workspace from task to task as an OCI image, with no shared volume.

    A TARGET is the image that holds a workspace: registry/repository:tag, or oci:DIRECTORY:TAG for an OCI image
    layout on disk.
    """


def run(args: Sequence[str]) -> int:
    """Run the command line `args` (without the program's name) and return the exit code.

    Whatever happens, the caller sees an exit code of the table in docs/reference/cli.md, and the user one line.
    """
    options = list(args[: args.index("--")] if "--" in args else args)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")  # a name must not fail for the terminal's encoding
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, _unwind)
    if previous[signal.SIGINT] is signal.default_int_handler:  # an ignored signal stays ignored (nohup)
        signal.signal(signal.SIGINT, _unwind)
    try:
        with standard_output():
            return _invoke(list(args))  # click empties the list that it is given
    except BrokenPipeError:
        abandon()
        return command_exit_codes.SIGNALLED + signal.SIGPIPE
    except KeyboardInterrupt as end:
        return _ended(signal.SIGINT, end, options)
    except _TerminatedError as end:
        return _ended(signal.SIGTERM, end, options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else command_exit_codes.BUG
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return command_exit_codes.USAGE
    except Exception as error:
        if "--debug" in options:
            _show_origin(error)
        failure = describe(error, place_of(args, os.environ))
        _report(failure, as_json="--json" in options)
        return failure.exit_code
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _invoke(args: list[str]) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from agent.cli.completion import complete

        return complete(instruction)
    try:
        # Not `agent.main()`: it would print errors in its own format and end the process.
        with agent.make_context("agent", args) as ctx:
            result = agent.invoke(ctx)
    except click.exceptions.Exit as end:
        result = end.exit_code
    flush()
    return result if isinstance(result, int) else command_exit_codes.DONE


class _TerminatedError(SystemExit):
    """The process got SIGTERM."""


def _unwind(signum: int, frame: FrameType | None) -> NoReturn:
    # The first signal unwinds the main thread, so that it can clean up. A second one ends the process at once.
    signal.signal(signum, signal.SIG_DFL)
    raise KeyboardInterrupt if signum == signal.SIGINT else _TerminatedError(command_exit_codes.SIGNALLED + signum)


def _ended(signum: signal.Signals, end: BaseException, options: list[str]) -> int:
    """Print one line about the state after a signal, and return the exit code."""
    command = next((f"agent {word}" for word in options if not word.startswith("-")), "agent")
    advice = "; ".join(getattr(end, "__notes__", [])) or "run it again"
    failure = Failure(
        "Interrupted", command, f"ended by {signum.name}", redact(advice), command_exit_codes.SIGNALLED + signum
    )
    _report(failure, as_json="--json" in options)
    return failure.exit_code


def _show_origin(error: BaseException) -> None:
    for line in "".join(traceback.format_exception(error)).splitlines():
        click.echo(redact(line), err=True)


def _report(failure: Failure, *, as_json: bool) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        abandon()
    # If standard error is closed, the exit code still reports the failure.
    with suppress(OSError):
        write_failure(failure, sys.stderr, as_json=as_json)
