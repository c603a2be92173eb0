"""Workspaces at a target in each kind of store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.workspaces import Workspaces


@pytest.fixture(params=["memory", "layout", "registry"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspaces]:
    """Directories that share a target: in memory, in an OCI layout, in a real registry."""
    if request.param == "memory":
        made: Workspaces = MemoryWorkspaces(tmp_path)
    elif request.param == "layout":
        made = Workspaces(tmp_path)
    else:
        made = Workspaces(tmp_path, f"{request.getfixturevalue('registry')}/guarantees/{uuid.uuid4().hex}:main")
    yield made
    made.close()
