"""Rows that wait: what comes back is what went in, in memory or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, Version
from agent.errors import WorkspaceError
from agent.workspace.state.row_buffer import RowBuffer
from agent.workspace.state.row_codec import ROWS


def rows(count: int) -> list[StateRow]:
    stands = Fingerprint(1 << 70, 2, 3, 4, 5, -6, 7)
    versions = [None, Version(1, "a" * 64), Version(2, "b" * 64)]
    return [
        StateRow(
            b"%07d" % number,
            Node(Kind.FILE, 0o644, size=number, sha256=b"x" * 32),
            versions[number % 3],
            None if number % 2 else stands,
            number % 4,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("most", [0, 1, 7, ROWS + 1, 1 << 20])
def test_rows_come_back_in_order_as_often_as_asked(tmp_path: Path, most: int) -> None:
    given = rows(2 * ROWS + 5)
    with RowBuffer(str(tmp_path), most) as spill:
        for row in given:
            spill.append(row)
        assert len(spill) == len(given)
        assert list(spill) == given
        assert list(spill) == given
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("most", [0, ROWS, 1 << 20])
def test_rows_get_a_version_when_it_is_known(tmp_path: Path, most: int) -> None:
    given = rows(ROWS + 5)
    spill = RowBuffer(str(tmp_path), most)
    for row in given:
        spill.append(row)
    spill.version = Version(3, "c" * 64)
    assert list(spill) == [row if row.version else row._replace(version=spill.version) for row in given]


def test_rows_that_nobody_holds_hold_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    spill = RowBuffer(str(tmp_path), 0)
    spill.append(rows(1)[0])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del spill
    assert len(os.listdir("/proc/self/fd")) == before


def test_few_rows_touch_no_disk(tmp_path: Path) -> None:
    with RowBuffer(str(tmp_path / "nothing here")) as spill:
        spill.append(rows(1)[0])
        assert list(spill) == rows(1)


def test_a_place_that_cannot_be_written_is_a_workspace_error(tmp_path: Path) -> None:
    with RowBuffer(str(tmp_path / "nothing here"), 0) as spill, pytest.raises(WorkspaceError, match="put aside"):
        spill.append(rows(1)[0])
