"""Complete writes, and a rename that survives a power cut."""

from __future__ import annotations

import os
from typing import TypeVar

_Path = TypeVar("_Path", str, bytes)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`.

    Raises:
        OSError: the system refused.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def rename_durably(path: _Path, target: _Path) -> None:
    """Rename a file whose content is synced already, and sync the directory of `target`.

    Raises:
        OSError: the system refused.
    """
    os.rename(path, target)
    descriptor = os.open(os.path.dirname(target) or os.curdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
