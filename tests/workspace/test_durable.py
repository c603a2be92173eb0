import os
from pathlib import Path

import pytest

from agent.errors import WorkspaceError
from agent.workspace.filesystem.durable_files import (
    read_checksummed,
    read_json,
    remove_file,
    write_checksummed,
    write_json,
)


def test_what_is_written_is_read_until_it_is_removed(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "intent")
    assert read_json(path) is None
    write_json(path, {"stamp": 1})
    write_json(path, {"stamp": 2, "parents": ["é"]})
    assert read_json(path) == {"stamp": 2, "parents": ["é"]}
    assert os.listdir(tmp_path) == ["intent"]
    remove_file(path)
    remove_file(path)
    assert read_json(path) is None


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff", b'{"a": 1} x', b"[" * 100_000])
def test_what_makes_no_sense_is_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "intent").write_bytes(text)
    assert read_json(os.fspath(tmp_path / "intent")) is None


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "intent.new").write_bytes(b"half of a very long text that was never finished")
    write_json(os.fspath(tmp_path / "intent"), {})
    assert os.listdir(tmp_path) == ["intent"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "intent.new").symlink_to("victim")
    with pytest.raises(WorkspaceError):
        write_json(os.fspath(tmp_path / "intent"), {})
    (tmp_path / "intent").symlink_to("victim")
    with pytest.raises(WorkspaceError):
        read_json(os.fspath(tmp_path / "intent"))
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    import resource
    import signal

    path = os.fspath(tmp_path / "intent")
    write_json(path, {"old": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(WorkspaceError, match="File too large"):
            write_json(path, {"new": "x" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["intent"]


@pytest.mark.parametrize(("directory", "file"), [(0o700, 0o600), (0o755, 0o600), (0o777, 0o666)])
def test_others_may_read_and_replace_it_only_where_they_could_anyway(tmp_path: Path, directory: int, file: int) -> None:
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(directory)
    before = os.umask(0)
    try:
        write_json(os.fspath(place / "intent"), {})
    finally:
        os.umask(before)
    assert (place / "intent").stat().st_mode & 0o777 == file


def test_damage_to_any_byte_of_a_sealed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "intent"
    value = {"stamp": 17, "parents": ["é"], "record": None}
    write_checksummed(os.fspath(path), value)
    assert read_checksummed(os.fspath(path)) == value
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flipped in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << flipped)]) + whole[at + 1 :])
            assert read_checksummed(os.fspath(path)) in (None, value)
        path.write_bytes(whole[:at])
        assert read_checksummed(os.fspath(path)) in (None, value)
    path.write_text('{"stamp": 17}')
    assert read_checksummed(os.fspath(path)) is None
