"""docs/how-to/when-a-step-fails.md, the table of exit codes and the errors agree; a step's last line suffices."""

from __future__ import annotations

import re
from pathlib import Path

from agent import errors
from agent.cli.terminal import command_exit_codes
from agent.errors import AgentError
from agent.exit_codes import MEANINGS, OUT_OF_TIME, UNKNOWN
from agent.tekton.controlplane.failed_step import PAGE

ROOT = Path(__file__).parents[2]


def sections() -> dict[str, str]:
    """Return the page's sections by their headings."""
    parts = re.split(r"^## (.*)$", (ROOT / PAGE).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def test_the_page_has_each_code_with_its_meaning_and_what_to_do() -> None:
    wanted = {f"{code}: {meaning.title}": meaning for code, meaning in MEANINGS.items()}
    wanted |= {capitalized(meaning.title): meaning for meaning in (OUT_OF_TIME, UNKNOWN)}
    found = sections()
    assert [heading for heading in found if heading in wanted] == list(wanted)
    assert set(found) - wanted.keys() == {"Before the steps run"}
    for heading, meaning in wanted.items():
        first, _, rest = found[heading].strip().partition("\n\n")
        assert " ".join(first.split()) == f"{capitalized(meaning.text)}."
        assert rest.startswith("- "), heading


def test_the_links_within_the_page_lead_to_sections() -> None:
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in sections()}
    links = re.findall(r"\]\(#([^)]+)\)", (ROOT / PAGE).read_text())
    assert links
    assert set(links) <= anchors


def test_every_code_that_a_command_can_end_with_is_in_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentError)]
    codes = {kind.exit_code for kind in kinds} | {
        command_exit_codes.BUG,
        command_exit_codes.USAGE,
        command_exit_codes.NOT_EXECUTABLE,
        command_exit_codes.NOT_FOUND,
    }
    table = (ROOT / "docs" / "reference" / "cli.md").read_text().partition("## Exit codes")[2]
    codes |= {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert codes - {command_exit_codes.DONE} <= MEANINGS.keys()
