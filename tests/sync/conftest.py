"""What the tests of pull and push share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.workspaces import Workspaces


@pytest.fixture
def workspaces(tmp_path: Path) -> Iterator[Workspaces]:
    """Directories that share a target in a layout."""
    made = Workspaces(tmp_path)
    yield made
    made.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemoryWorkspaces]:
    """Directories that share a target in memory."""
    made = MemoryWorkspaces(tmp_path)
    yield made
    made.close()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered lies in blocks of a few rows, so that two processes share the look at a directory."""
    monkeypatch.setattr("agent.workspace.state.row_blocks.ROWS", 3)
    monkeypatch.setattr("agent.sync.directory_scan.scan_directory.process_count", lambda: 2)
