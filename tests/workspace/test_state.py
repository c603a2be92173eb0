import io
import os
import time
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, Version
from agent.errors import WorkspaceError
from agent.workspace.state.row_codec import ROWS, pack
from agent.workspace.state.row_columns import Columns
from agent.workspace.state.state_file import FORMAT, StateDamagedError, read_state, write_state
from tests.fakes.soaking import some
from tests.workspace.any_rows import KNOWN

PRINT = Fingerprint(1, 2, 0o100644, 3, 4, 5, 6)
VERSION = Version(7, "a" * 64)
NODE = Node(Kind.FILE, 0o644, 3, 4, 5, 2, b"h" * 32)


def row(number: int) -> StateRow:
    return StateRow(b"%07d" % number, NODE, VERSION, PRINT)


HEADERS = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none() | st.lists(st.integers())
)


@settings(max_examples=some(150), deadline=None)
@given(rows=st.lists(KNOWN, max_size=20), header=HEADERS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[StateRow], header: Any) -> None:
    path = tmp_path_factory.mktemp("state") / "state"
    assert write_state(path.as_posix(), header, rows) == len(rows)
    with read_state(path.as_posix()) or pytest.fail("missing") as state:
        assert (state.header, state.rows) == (header, len(rows))
        assert list(state) == rows
        assert list(state) == rows
        assert all((type(item), type(item.node), type(item.node.kind)) == (StateRow, Node, Kind) for item in state)


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 3])
def test_rows_span_blocks(tmp_path: Path, count: int) -> None:
    path = os.fsencode(tmp_path / "state")
    rows = [row(number)._replace(version=Version(number % 7 + 1, "c" * 64)) for number in range(count)]
    write_state(path, {}, rows)
    with read_state(path) or pytest.fail("missing") as state:
        assert list(state) == rows


def test_a_hundred_thousand_rows_take_little_memory(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    write_state(path, {}, (row(number) for number in range(100_000)))
    tracemalloc.start()
    try:
        with read_state(path) or pytest.fail("missing") as state:
            assert sum(1 for _ in state) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("most", [10, 9])
def test_few_rows_are_unpacked_once_if_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("agent.workspace.state.state_file.MOST", most)
    rows = list(map(row, range(10)))
    write_state(str(tmp_path / "state"), {}, rows)
    with read_state(str(tmp_path / "state")) or pytest.fail("missing") as state:
        first, again = next(iter(state)), next(iter(state))
        assert first is not again
        state.cache()
        first, again = next(iter(state)), next(iter(state))
        assert (first is again) is (most == 10)
        assert list(state) == list(state) == rows


def test_no_state_is_none(tmp_path: Path) -> None:
    assert read_state(os.fsencode(tmp_path / "state")) is None


def test_state_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(os.fsencode(path), {}, [])
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state"]


def test_damage_to_any_byte_is_noticed_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(os.fsencode(path), {"a": 1}, [row(1), row(2)])
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flipped in (1, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :])
            with pytest.raises(StateDamagedError):
                read_state(os.fsencode(path))


def test_a_file_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(os.fsencode(path), {"a": 1}, [row(1), row(2)])
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(StateDamagedError):
            read_state(os.fsencode(path))
    path.write_bytes(whole + b"x")
    with pytest.raises(StateDamagedError):
        read_state(os.fsencode(path))


def test_a_newer_format_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"instep state %d\nwhatever comes then" % (FORMAT + 1))
    with pytest.raises(StateDamagedError, match=f"has format {FORMAT + 1}") as caught:
        read_state(os.fsencode(path))
    assert caught.value.exit_code == 40


def test_what_format_1_says_of_paths_that_were_not_pulled_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    known = [row(1), row(2)._replace(fingerprint=None)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.workspace.state.state_file.FORMAT", 1)
        patch.setattr(
            "agent.workspace.state.state_file.pack", lambda columns, versions: pack(absent(columns), versions)
        )
        write_state(os.fsencode(path), {}, known)
    assert path.read_bytes().startswith(b"instep state 1\n")
    with read_state(os.fsencode(path)) or pytest.fail("missing") as state:
        assert list(state) == known


def absent(columns: Columns) -> Columns:
    columns.rare = {1: {"absent": True}}
    return columns


def test_rows_stay_readable_while_the_file_is_replaced(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    write_state(path, {}, map(row, range(3 * ROWS)))
    with read_state(path) or pytest.fail("missing") as state:
        assert write_state(path, {}, (item._replace(group=1) for item in state)) == 3 * ROWS
        assert {item.group for item in state} == {0}
    with read_state(path) or pytest.fail("missing") as state:
        assert {item.group for item in state} == {1}


def test_rows_that_fail_leave_the_old_state(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    write_state(path, {"old": True}, [])

    def rows() -> Iterator[StateRow]:
        yield row(1)
        raise io.UnsupportedOperation("no more")

    with pytest.raises(io.UnsupportedOperation):
        write_state(path, {"old": False}, rows())
    assert os.listdir(tmp_path) == ["state"]
    with read_state(path) or pytest.fail("missing") as state:
        assert state.header == {"old": True}


def test_a_kill_while_writing_leaves_a_valid_state(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    write_state(path, {"run": -1}, map(row, range(50)))
    for run in range(10):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    write_state(path, {"run": run}, map(row, range(5000)))
            finally:
                os._exit(1)
        try:
            time.sleep(0.004 * run)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
        with read_state(path) or pytest.fail("missing") as state:
            assert sum(1 for _ in state) in (50, 5000)
    write_state(path, {}, [])
    assert os.listdir(tmp_path) == ["state"]


def test_a_directory_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="No such file"):
        write_state(os.fsencode(tmp_path / "missing" / "state"), {}, [])


def written(path: Path, body: bytes) -> bytes:
    """Write a state with a checksum that fits."""
    path.write_bytes(body + sha256(body).digest())
    return os.fsencode(path)


@pytest.mark.parametrize("header", [b"", b"[1]", b"5", b"{", b"[" * 5000, b"\xff", b'"' + b"x" * 9])
def test_a_header_that_is_no_object_is_damage(tmp_path: Path, header: bytes) -> None:
    body = b"instep state 1\n" + len(header).to_bytes(4, "little") + header + bytes(12)
    with pytest.raises(StateDamagedError, match="has a header that is no"):
        read_state(written(tmp_path / "state", body))


@pytest.mark.parametrize("block", [b"", b"x", zstandard.compress(b""), zstandard.compress(bytes(1 << 20))])
def test_a_block_that_is_none_is_damage(tmp_path: Path, block: bytes) -> None:
    body = b"instep state 1\n\2\0\0\0{}" + (len(block) or 1 << 31).to_bytes(4, "little") + block + bytes(12)
    with read_state(written(tmp_path / "state", body)) or pytest.fail("missing") as state:
        tracemalloc.start()
        try:
            with pytest.raises(StateDamagedError, match=r"unreadable block|ends too early"):
                list(state)
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
def test_parts_hold_all_rows_between_their_ends(
    tmp_path_factory: pytest.TempPathFactory, count: int, most: int, block: int
) -> None:
    path = str(tmp_path_factory.mktemp("state") / "state")
    versions = [None, *(Version(number, f"{number:064x}") for number in range(5))]
    known = [row(number)._replace(version=versions[number * number % 6]) for number in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.workspace.state.row_blocks.ROWS", block)
        write_state(path, {}, known)
    state = read_state(path)
    assert state is not None
    with state:
        parts = state.parts(most)
        rows = [list(part.rows) for part in parts]
    assert [each for part in rows for each in part] == known
    assert 1 <= len(parts) <= most
    assert [part.start for part in parts] == [b"", *(part[0].path for part in rows[1:])]
    assert [part.stop for part in parts] == [*(part.start for part in parts[1:]), None]
