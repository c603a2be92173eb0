"""Parsing, help and what is imported for it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.cli.main import COMMANDS, agent
from agent.errors import AgentError, InvalidReferenceError

HEAVY = ("requests", "urllib3", "rich", "zstandard", "oras", "watchdog")
WORKING = (
    "agent.archive.toc.toc",
    "agent.archive.tar.tar_reader",
    "agent.archive.layer.writer",
    "agent.core.merge.merge",
    "agent.sync.commands.probe_store",
    "agent.sync.publish.head",
    "agent.workspace.write.tree_writer",
    "concurrent.futures",
    "requests",
    "tempfile",
)


def test_version_imports_no_library_but_click() -> None:
    script = (
        "import sys; from agent.cli.main import run; code = run(['--version']); "
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"agent \d+\.\d+\.\d+\S*\n0 \[\]\n", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_no_http_client(name: str) -> None:
    script = (
        f"import sys; from agent.cli.main import run; code = run([{name!r}, '--help']); "
        "print(code, 'requests' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n0 False False\n")


@pytest.mark.parametrize("name", ["push", "pull"])
def test_a_command_that_finds_nothing_to_do_imports_nothing_that_would_do_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_bytes(b"content")
    common = [f"oci:{tmp_path}/layout:ws", f"{tmp_path}/work", "--state", f"{tmp_path}/state", "--quiet"]
    script = (
        "import sys; from agent.cli.main import run; code = run(sys.argv[1:]); "
        f"print(code, [name for name in {WORKING!r} if name in sys.modules])"
    )
    for command, wanted in (("push", True), (name, False)):
        words = [sys.executable, "-c", script, command, *common]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("0 [")
        assert ("agent.archive.toc.toc" in done.stdout) is wanted
        assert (done.stdout == "0 []\n") is not wanted


def test_help_lists_every_command_and_its_module_agrees() -> None:
    shown = CliRunner().invoke(agent, ["--help"]).output
    for name, text in COMMANDS.items():
        command = import_module(f"agent.cli.{name}").command
        assert isinstance(command, click.Command)
        assert command.name == name
        assert f"  {name} " in shown
        assert text.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_parses(name: str) -> None:
    command = import_module(f"agent.cli.{name}").command
    shown = CliRunner().invoke(agent, [name, "--help"], terminal_width=80).output
    lines = shown.partition("\n  Example:\n")[2].splitlines()
    assert lines[0].startswith("    ")
    example = "\n".join(line.removeprefix("    ") for line in lines)
    assert f"agent {name} " in example
    words = [word for word in shlex.split(example[example.index("agent ") :].removesuffix(')"')) if word != "\n"]
    group = agent.make_context("agent", words[1:])
    command.make_context(name, words[2:], parent=group)  # raises what does not fit


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_of_an_example_is_broken(width: int) -> None:
    for name in COMMANDS:
        command = import_module(f"agent.cli.{name}").command
        shown = CliRunner().invoke(agent, [name, "--help"], terminal_width=width).output
        for line in (command.epilog or "").splitlines()[2:]:
            assert f"  {line}" in shown.splitlines()
            assert len(line) <= 78


@pytest.mark.parametrize("words", [["--help"], ["push", "--help"], ["--version"], ["completion", "bash"]])
@pytest.mark.parametrize("refusal", ["full", "closed"])
def test_an_output_that_takes_nothing_is_an_error_of_its_own(words: list[str], refusal: str) -> None:
    where = {"full": ">/dev/full", "closed": ">&-"}[refusal]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {where}', "sh", sys.executable, "-m", "agent", *words],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 40
    assert re.fullmatch(r"agent: error: standard output: cannot be written: [^\n]*\n", done.stderr)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    """Else a message would be written into the file that was opened next, such as the state."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_bytes(b"content")
    words = ["push", f"oci:{tmp_path}/layout:ws", f"{tmp_path}/work", "--state", f"{tmp_path}/state"]
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "agent", *words]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            assert b"agent: " not in (Path(folder) / name).read_bytes()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    command = import_module(f"agent.cli.{name}").command
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name


@pytest.mark.parametrize(
    "words",
    [
        ["pull"],
        ["pull", "reg.io/x:t", "a", "b"],
        ["pull", "reg.io/x:t", "--attempt", "-1"],
        ["pull", "reg.io/x:t", "--lane", ""],
        ["pull", "reg.io/x:t", "--lane", "a\nb"],
        ["push", "reg.io/x:t", "--on-conflict", "maybe"],
        ["push", "reg.io/x:t", "--compression", "lzma"],
        ["push", "reg.io/x:t", "--annotation", "no-equals"],
        ["push", "reg.io/x:t", "--annotation", "dev.instep.format=1"],
        ["push", "reg.io/x:t", "-m", "\udcff"],
        ["exec", "reg.io/x:t"],
        ["exec", "reg.io/x:t", "--"],
        ["watch", "reg.io/x:t", "--settle", "-1"],
        ["diff"],
        ["completion", "tcsh"],
        ["frobnicate"],
        ["--frobnicate"],
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str]) -> None:
    result = CliRunner().invoke(agent, words)
    assert result.exit_code == 2
    assert "Usage: agent" in result.output


@pytest.mark.parametrize(
    "target",
    [
        "ubuntu",
        "workspace:main",
        "reg.io/UPPER:t",
        "reg.io/x:bad tag",
        "reg.io/x@sha256:" + "0" * 64,
        "reg.io/x:t@sha256:" + "0" * 64,
        "reg.io/x:main.lane._e" + "a" * 10 + "0" * 26,
        "oci:",
        "",
    ],
)
def test_a_target_that_is_none_is_refused_before_anything_is_opened(target: str) -> None:
    result = CliRunner().invoke(agent, ["pull", target])
    assert isinstance(result.exception, InvalidReferenceError)
    assert result.exception.exit_code == 2


def test_an_empty_glob_is_refused() -> None:
    result = CliRunner().invoke(agent, ["pull", "reg.io/x:t", "--path", "/"])
    assert isinstance(result.exception, AgentError)
    assert result.exception.exit_code == 2


def test_what_follows_the_dashes_is_the_command_whatever_it_looks_like() -> None:
    group = agent.make_context("agent", ["exec"])
    command = import_module("agent.cli.exec").command
    ctx = command.make_context("exec", ["reg.io/x:t", "dir", "--", "tool", "--json", "--", "-m"], parent=group)
    assert ctx.params["directory"] == "dir"
    assert list(ctx.meta.values()) == [["tool", "--json", "--", "-m"]]


def test_a_command_is_not_taken_for_a_directory() -> None:
    group = agent.make_context("agent", ["exec"])
    ctx = import_module("agent.cli.exec").command.make_context("exec", ["reg.io/x:t", "--", "tool"], parent=group)
    assert ctx.params["directory"] == "."


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(agent, ["completion", shell])
    assert result.exit_code == 0
    assert "_AGENT_COMPLETE" in result.output


def test_bash_completes_commands_and_options(agent: object) -> None:
    environ = {**agent.environ, "_AGENT_COMPLETE": "bash_complete"}  # type: ignore[attr-defined]
    for line, wanted in (("agent pu", "plain,push"), ("agent push reg.io/x:t --dry", "plain,--dry-run")):
        done = subprocess.run(
            [sys.executable, "-m", "agent"],
            env={**environ, "COMP_LINE": line},
            capture_output=True,
            text=True,
            check=True,
        )
        assert wanted in done.stdout.splitlines()


def test_version_imports_little() -> None:
    """What a start costs, counted and not timed: `make bench` measures it."""
    code = "import sys; from agent.cli.main import run; run(['--version']); print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout.splitlines()[-1]) < 220
