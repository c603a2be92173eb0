"""Every command that the pages show exists, and README's five lines work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

from agent import errors
from agent.cli.main import COMMANDS
from agent.cli.main import agent as group
from agent.errors import AgentError
from tests.cli.conftest import Agent
from tests.cli.pages import PAGES, ROOT, RUN, shown


def _shown(page: Path) -> list[str]:
    return [found.command.partition("  #")[0] for found in shown(page)]


def _words(line: str) -> list[str]:
    """Return the words of a line's first command, without what a shell does with its output."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return list(takewhile(lambda word: not set(word) <= set("|&;<>"), lexer))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_parse(page: Path) -> None:
    """Those that test_transcripts.py does not run."""
    for found in shown(page):
        words = _words(found.command)
        is_run = page in RUN and not found.needs
        if not is_run and words[0] == "agent" and words[1] in COMMANDS:
            parent = group.make_context("agent", [words[1]])
            import_module(f"agent.cli.{words[1]}").command.make_context(words[1], words[2:], parent=parent)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and in it to a heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), link
            assert not anchor or anchor in _anchors(linked), link


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", index.read_text())}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"}
    assert pages - {index} <= linked


def test_the_five_lines_of_the_readme_work(agent: Agent, registry: str, work: Path) -> None:
    lines = [line for line in _shown(ROOT / "README.md") if "registry.example.com" in line or "greeting" in line]
    assert len(lines) == 5
    script = "set -e\n" + "\n".join(lines).replace("registry.example.com", f"{registry}/readme")
    script = re.sub(r"^agent ", f"{sys.executable} -m agent ", script, flags=re.MULTILINE)
    done = subprocess.run(["bash", "-c", script], cwd=agent.place, env=agent.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[-1] for line in done.stdout.splitlines()] == ["say hello", "first"]
    assert agent("cat", f"{registry}/readme/team/ws:main", "greeting").stdout == "hello\n"


def test_the_table_of_exit_codes_has_every_code() -> None:
    table = (ROOT / "docs" / "reference" / "cli.md").read_text().partition("## Exit codes")[2]
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentError)]
    assert documented == {0, 126, 127, 130, 141, 143} | {kind.exit_code for kind in kinds}


CITED = re.compile(r'design, ((?:"[^"]+"(?:, | and |,?\n\s*and )?)+)')


def test_every_heading_of_the_design_that_the_code_cites_exists() -> None:
    headings = set(re.findall(r"^#+ (.+)$", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE))
    cited = [
        (path, " ".join(heading.split()))
        for path in [*(ROOT / "agent").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
        for cite in CITED.findall(path.read_text())
        for heading in re.findall(r'"([^"]+)"', cite)
    ]
    assert len(cited) > 60
    assert not [(path.name, heading) for path, heading in cited if heading not in headings]


def test_no_comment_cites_the_design_by_number() -> None:
    cites = re.compile(r"design\s+sections?\s+\d")
    assert not [path for path in (ROOT / "agent").rglob("*.py") if cites.search(path.read_text())]
