"""What is copied by column is what one would get row by row."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.directory.state_after_push import PatchedRows
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import Version
from agent.workspace.state import row_blocks
from agent.workspace.state.row_buffer import RowBuffer
from agent.workspace.state.row_columns import Versions
from agent.workspace.state.state_file import read_state, write_state
from tests.workspace.any_rows import KNOWN

PATHS = st.integers(0, 15).map(b"%02d".__mod__)
ROWS = st.builds(lambda path, row: row._replace(path=path), PATHS, KNOWN)
TREES = st.lists(ROWS, max_size=8, unique_by=lambda row: row.path).map(
    lambda rows: sorted(rows, key=lambda row: row.path)
)


@settings(max_examples=40, deadline=None)
@given(before=TREES, standing=TREES, written=TREES, gone=st.sets(PATHS), size=st.sampled_from([1, 2, 3, 5, 4096]))
def test_rows_over_others_are_what_stands_at_each_path(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[StateRow],
    standing: list[StateRow],
    written: list[StateRow],
    gone: set[bytes],
    size: int,
) -> None:
    place = tmp_path_factory.mktemp("state")
    first, second = os.fsencode(place / "first"), os.fsencode(place / "second")
    change = Version(9, "d" * 64)
    with patch.object(row_blocks, "ROWS", size), RowBuffer(str(place), 2) as spill:
        write_state(first, {}, before)
        for row in written:
            spill.append(row)
        spill.version = change
        with read_state(first) or pytest.fail("missing") as state:
            revised = PatchedRows(PatchedRows(state, standing, gone), spill)
            by_row = list(revised)
            assert write_state(second, {}, revised) == len(by_row)
        with read_state(second) or pytest.fail("missing") as state:
            by_column = list(state)
            lengths = [len(columns) for columns in state.columns(Versions())]
    expected = {row.path: row for row in before if row.path not in gone}
    expected |= {row.path: row for row in standing}
    expected |= {row.path: row if row.version else row._replace(version=change) for row in written}
    assert by_column == by_row == [expected[path] for path in sorted(expected)]
    assert all(length == size for length in lengths[:-1])
