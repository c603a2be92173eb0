"""Small files that a crash leaves whole: written under another name, synced, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any

from agent.files.durable_write import rename_durably
from agent.workspace.filesystem.system_errors import failed

_CHECKSUM = "sha256"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class DurableFile:
    """A context that writes a new version of the file `path`, which replaces the old one if no error is raised.

    One writer at a time: the caller holds the directory's lock. The leftover of a killed writer is overwritten.

    Raises:
        WorkspaceError: the system refused; the old file stays.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._new = path + b".new"

    def __enter__(self) -> DurableFile:
        try:
            descriptor = os.open(self._new, _NEW, mode_in(os.path.dirname(self._path)))
            self._file = os.fdopen(descriptor, "wb", buffering=1 << 18)
        except OSError as error:
            raise failed(error, self._path, "cannot be written") from error
        return self

    def write(self, data: bytes) -> None:
        """Append `data`."""
        try:
            self._file.write(data)
        except OSError as error:
            raise failed(error, self._path, "cannot be written") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                rename_durably(self._new, self._path)
        except OSError as refusal:
            self._discard()
            raise failed(refusal, self._path, "cannot be written") from refusal
        if kind is not None:
            self._discard()

    def _discard(self) -> None:
        for release in (self._file.close, lambda: os.unlink(self._new)):
            try:
                release()
            except OSError:
                continue


def mode_in(directory: str | bytes) -> int:
    """Return the mode for a new file in `directory`: 0600, or 0666 if every user may replace files there.

    The steps of a task share such a volume and may run as different users.

    Raises:
        OSError: the directory cannot be examined.
    """
    return 0o666 if os.stat(directory or ".").st_mode & 0o002 else 0o600


def write_json(path: str | bytes, value: Mapping[str, Any]) -> None:
    """Replace the small JSON file at `path`, such as a push's intent (design, "Intent"), in one step.

    Raises:
        WorkspaceError: it cannot be written; the old one stays.
    """
    with DurableFile(os.fsencode(path)) as file:
        file.write(json.dumps(value, sort_keys=True).encode() + b"\n")


def read_json(path: str | bytes) -> dict[str, Any] | None:
    """Return the object in the JSON file at `path`; None if there is no file, or no object in it.

    Raises:
        WorkspaceError: it cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            value = json.loads(file.read())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be read") from error
    return value if isinstance(value, dict) else None


def write_checksummed(path: str | bytes, value: Mapping[str, Any]) -> None:
    """Replace the small JSON file at `path` by one with a checksum in it; raises as `write_json`."""
    write_json(path, {**value, _CHECKSUM: _checksum(value)})


def read_checksummed(path: str | bytes) -> dict[str, Any] | None:
    """Return the object that `write_checksummed` wrote; None if there is no file, or its checksum is wrong.

    Raises:
        WorkspaceError: it cannot be read.
    """
    value = read_json(path)
    if value is None or value.pop(_CHECKSUM, None) != _checksum(value):
        return None
    return value


def _checksum(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def remove_file(path: str | bytes) -> None:
    """Remove a file, if it exists.

    Raises:
        WorkspaceError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be removed") from error
