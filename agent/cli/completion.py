"""`agent completion`: print the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from agent.cli.main import COMPLETE_VARIABLE, agent


@click.command("completion", epilog='Example: eval "$(agent completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    Put it where the shell reads it: for bash and zsh `eval "$(agent completion SHELL)"` in ~/.bashrc or ~/.zshrc,
    for fish `agent completion fish > ~/.config/fish/completions/agent.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(agent, {}, "agent", COMPLETE_VARIABLE).source())
