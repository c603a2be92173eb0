"""Where the model keeps its directories: in memory where that can be had."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = "/dev/shm"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory if possible: a search makes and reads thousands of small files."""
    if not os.access(SHARED, os.W_OK | os.X_OK):
        yield tmp_path
        return
    made = tempfile.mkdtemp(prefix="instep-model-", dir=SHARED)
    yield Path(made)
    shutil.rmtree(made)
