"""A plug-in of pytest: a test fails if a secret (`tests.fakes.secrets`) comes out anywhere while it runs.

Looked at: what is printed and logged, what child processes print, what stands in errors of the agent, and in whatever
else a test hands to `look`. Credential helpers print secrets because that is what they are for.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError
from tests.fakes.secrets import holds_secret

_found: list[str] = []


def look(where: str, *texts: str | bytes | None) -> None:
    """Note where a secret came out, if one did."""
    if any(text and holds_secret(text) for text in texts):
        _found.append(where)


def look_below(directory: Path) -> None:
    """Look into all files of a directory."""
    for place, _, names in os.walk(directory):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                look(f"the file {path}", path.read_bytes())


def _watch(owner: Any, name: str, seen: Callable[[Any, Any], None]) -> None:
    """Have `seen(self, result)` called after each call of a method."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        seen(self, result)
        return result

    setattr(owner, name, watched)


def _said(process: subprocess.Popen[Any], outputs: tuple[Any, Any]) -> None:
    words = [process.args] if isinstance(process.args, str | bytes | os.PathLike) else [*process.args]
    if not Path(os.fsdecode(words[0])).name.startswith("docker-credential-"):
        look(f"what {' '.join(map(os.fsdecode, map(str, words)))[:200]} printed", *outputs)


_watch(subprocess.Popen, "communicate", _said)
_watch(pytest.CaptureFixture, "readouterr", lambda fixture, result: look("what was printed", *result))
_watch(AgentError, "__init__", lambda error, result: look("an error", f"{error.what} {error.subject} {error.remedy}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    look("what was captured", *(text for _, text in report.sections))
    if _found and not report.failed:
        report.outcome = "failed"
        report.longrepr = f"a secret came out in {'; in '.join(_found)}"
    _found.clear()
    return report
