"""The pages for people: the commands that they show, and the output that they show for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "tests/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

RUN = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
"""The pages whose commands are run, and not only parsed."""

_BLOCK = re.compile(r"^( *)```console(?: (\w+))?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_OMITTED = "…"
_END = "-- end of a command, exit code "

_MASKS = (
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?: [+-]\d{4}|Z)?", "TIME"),
    (r"\b\d+(?:\.\d+)? (?:B|KiB|MiB|GiB)(?!\w)", "SIZE"),
    (r"\b\d+(?:\.\d+)? s\b", "SECONDS"),
    (r"\b\d+ requests?\b", "REQUESTS"),
    (r"(?<=\s)[\w.-]+@[\w.-]+(?=\s)", "LANE"),
    (r"\(\d+ of \d+ looks\)", "(LOOKS)"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that a page shows.

    Attributes:
        command: without the prompt; a line that ends in `\\` goes on in the next.
        output: the lines that it writes. A line of `…` stands for any number of lines.
        needs: the word behind `console`, such as `cluster`: a test has no such thing. Empty for a command that is run.
    """

    command: str
    output: tuple[str, ...]
    needs: str


def shown(page: Path) -> list[Shown]:
    """Return the commands of a page's `console` blocks, in order."""
    found = []
    for indent, needs, block in _BLOCK.findall(page.read_text()):
        lines = [line.removeprefix(indent) for line in block.splitlines()]
        while lines:
            command = lines.pop(0)
            assert command.startswith("$ "), f"{page.name}: {command!r} is no command"
            while command.endswith("\\"):
                command = command[:-1] + lines.pop(0).lstrip()
            output = []
            while lines and not lines[0].startswith("$ "):
                output.append(lines.pop(0))
            found.append(Shown(command[2:], tuple(output), needs))
    return found


def masked(text: str) -> str:
    """Return one line of output without anything that differs from run to run, and with single spaces."""
    for pattern, name in _MASKS:
        text = re.sub(pattern, name, text)
    return " ".join(text.split())


def differs(expected: tuple[str, ...], got: list[str]) -> bool:
    """Return whether output is not as shown. A line of `…` stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == _OMITTED else re.escape(masked(line)) + r"\n" for line in expected
    )
    return re.fullmatch(pattern, "".join(masked(line) + "\n" for line in got)) is None


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did: exit code, and the lines that it wrote to standard output and standard error."""

    exit_code: int
    output: list[str]


def run(commands: list[str], place: Path, registry: str) -> list[Ran]:
    """Run the commands one after the other in one shell, as a reader of the page does.

    Args:
        commands: shell commands; `registry.example.com` becomes `registry`.
        place: an empty directory; `examples`, `config` and an `agent` on the PATH are put there.
        registry: HOST:PORT.
    """
    for name in ("examples", "config"):
        shutil.copytree(ROOT / name, place / name)
    for path in (place / "examples").rglob("*.yaml"):
        path.write_text(path.read_text().replace("registry.example.com", registry))
    programs = place / "programs"
    programs.mkdir()
    agent = programs / "agent"
    agent.write_text(f'#!/bin/sh\nexec {sys.executable} -m agent "$@"\n')
    agent.chmod(0o755)
    script = ["exec 2>&1", "umask 022"]
    for command in commands:
        script += [command.replace("registry.example.com", registry), f'echo "{_END}$?"']
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(place / "home"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=place,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.stderr == "", done.stderr
    text = done.stdout.replace(registry, "registry.example.com").replace(str(place), "")
    parts = re.split(rf"{_END}(\d+)\n", text)
    assert len(parts) == 2 * len(commands) + 1, text
    return [Ran(int(code), output.splitlines()) for output, code in zip(parts[::2], parts[1::2], strict=False)]
