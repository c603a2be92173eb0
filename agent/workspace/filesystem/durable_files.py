"""Small files that must never be half there: written beside their place, synced, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any

from agent.workspace.filesystem.system_errors import failed

_SEAL = "sha256"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Durable:
    """A context in which `path` is written anew: it takes its place when the context ends without an error.

    One writer at a time: the caller holds the directory's lock. What a killed writer left is overwritten.

    Raises:
        WorkspaceError: the system refused; what stood at `path` stays.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._new = path + b".new"

    def __enter__(self) -> Durable:
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
                os.rename(self._new, self._path)
                _sync_directory(os.path.dirname(self._path) or b".")
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
    """Return the mode for a file in `directory`: the owner's alone, or everyone's where everyone could replace it.

    The latter is the volume that the steps of a task share, under whatever user each of them runs.

    Raises:
        OSError: the directory cannot be examined.
    """
    return 0o666 if os.stat(directory or ".").st_mode & 0o002 else 0o600


def write_json(path: str | bytes, value: Mapping[str, Any]) -> None:
    """Replace the small JSON file at `path`, such as a push's intent (design, "Changes"), in one step.

    Raises:
        WorkspaceError: it cannot be written; the old one stays.
    """
    with Durable(os.fsencode(path)) as file:
        file.write(json.dumps(value, sort_keys=True).encode() + b"\n")


def read_json(path: str | bytes) -> dict[str, Any] | None:
    """Return what `write_json` wrote, None if there is nothing or nothing that makes sense.

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


def write_sealed(path: str | bytes, value: Mapping[str, Any]) -> None:
    """Replace the small JSON file at `path` by one that says itself whether it is whole; as `write_json`."""
    write_json(path, {**value, _SEAL: _seal(value)})


def read_sealed(path: str | bytes) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote, None if there is nothing, or anything else.

    Raises:
        WorkspaceError: it cannot be read.
    """
    value = read_json(path)
    if value is None or value.pop(_SEAL, None) != _seal(value):
        return None
    return value


def _seal(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def remove_file(path: str | bytes) -> None:
    """Remove a file; that it is not there is fine.

    Raises:
        WorkspaceError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be removed") from error


def _sync_directory(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
