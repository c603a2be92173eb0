import os
from pathlib import Path

import pytest

from agent.core.entry import Kind, Node, Version
from agent.core.known import Fingerprint, Known
from agent.errors import WorkspaceError
from agent.workspace import shelf
from agent.workspace.rows import ROWS
from agent.workspace.shelf import Shelf

PRINT = Fingerprint(1 << 70, 2, 0o100644, 3, 4, 5, 6)
NODE = Node(Kind.FILE, 0o644, 3, 4, 5, 2)
COUNTS = [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7]


def rows(count: int) -> list[Known]:
    return [Known(b"%07d" % number, NODE._replace(size=number), None, PRINT) for number in range(count)]


def shelved(place: Path, put: list[Known]) -> Shelf:
    made = Shelf(str(place))
    for row in put:
        made.append(row)
    return made


@pytest.fixture(params=["in memory", "in a file"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in a file":
        monkeypatch.setattr(shelf, "IN_MEMORY", 1)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("count", COUNTS)
def test_rows_come_back_as_they_were_any_number_of_times(tmp_path: Path, count: int) -> None:
    there = shelved(tmp_path, rows(count))
    assert len(there) == count
    first, second = iter(there), iter(there)
    assert next(first, None) == next(second, None)
    assert list(there) == rows(count)
    assert [*first] == [*second] == rows(count)[1:]


@pytest.mark.parametrize("count", COUNTS)
def test_rows_get_a_version_when_it_is_known(tmp_path: Path, count: int) -> None:
    there = shelved(tmp_path, rows(count))
    there.version = Version(7, "a" * 64)
    assert list(there) == [row._replace(version=there.version) for row in rows(count)]


def test_what_is_rare_comes_back_too(tmp_path: Path) -> None:
    nodes = [
        Node(Kind.DIR, 0o755, xattrs=((b"user.x", b"\0\xff"),)),
        Node(Kind.LINK, 0o777, target=b"\xfe"),
        Node(Kind.CHAR, 0o600, device=(1, 3)),
        Node(Kind.FILE, 0o600, mtime=-(1 << 80), sha256=b"\1" * 32),
    ]
    put = [Known(b"%07d" % at, nodes[at % len(nodes)], None, PRINT) for at in range(ROWS)]
    assert list(shelved(tmp_path, put)) == put


@pytest.mark.usefixtures("held")
def test_nothing_is_left_in_the_directory(tmp_path: Path) -> None:
    there = shelved(tmp_path, rows(ROWS))
    assert os.listdir(tmp_path) == []
    del there
    assert os.listdir(tmp_path) == []


def test_a_directory_that_takes_no_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "IN_MEMORY", 1)
    there = shelved(tmp_path / "gone", rows(ROWS - 1))
    with pytest.raises(WorkspaceError, match="cannot be put aside") as caught:
        there.append(rows(1)[0])
    assert caught.value.subject == str(tmp_path / "gone")
