"""`agent completion`: the shell's completion script, and the completions that the script asks for."""

from __future__ import annotations

import os

import click
from click.shell_completion import BashComplete, add_completion_class, get_completion_class, shell_complete
from click.shell_completion import split_arg_string as split_words

from agent.cli.invocation.help_example import example
from agent.cli.main import COMPLETE_VARIABLE, agent

_BASH = r"""
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" type value
    # Readline ends a word at each colon: a reply replaces only what follows the last one.
    local word="${line##*[[:space:]]}"
    local before="${word%%"${word##*:}"}"
    [[ $COMP_WORDBREAKS == *:* ]] || before=
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_LINE="$line" %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class WholeWords(BashComplete):
    """Completion for bash. It splits the command line itself, because bash splits a target into three words."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, without the program's name, and the incomplete word at the cursor."""
        line = os.environ["COMP_LINE"]
        words = split_words(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words, incomplete


add_completion_class(WholeWords, "bash")


def complete(instruction: str) -> int:
    """Print completions for a completion script, and return the exit code.

    Args:
        instruction: click's, such as `bash_complete`.
    """
    return shell_complete(agent, {}, "agent", COMPLETE_VARIABLE, instruction)


@click.command("completion", epilog=example('eval "$(agent completion bash)"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    Put it where the shell reads it: for bash and zsh `eval "$(agent completion SHELL)"` in ~/.bashrc or ~/.zshrc,
    for fish `agent completion fish > ~/.config/fish/completions/agent.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(agent, {}, "agent", COMPLETE_VARIABLE).source())
