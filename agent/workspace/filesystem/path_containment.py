"""Tests whether a path is inside a directory, through links and mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agent.workspace.filesystem.clock_granularity import Mount, read_mounts


def lies_inside(path: str, root: str) -> bool:
    """Return whether `path` is the directory `root` or below it. Neither needs to exist.

    Links are followed. A directory that is mounted at two places, as a whole or in part, counts as one directory.
    """
    path, root = os.path.realpath(path), os.path.realpath(root)
    if _is_below(os.fsencode(path), os.fsencode(root)):
        return True
    identity = _identity(root)
    if identity is not None and identity in map(_identity, _upwards(path)):
        return True
    mounts = read_mounts()
    here, there = _origin(mounts, os.fsencode(path)), _origin(mounts, os.fsencode(root))
    return here is not None and there is not None and here[0] == there[0] and _is_below(here[1], there[1])


def _is_below(path: bytes, root: bytes) -> bool:
    return (path + b"/").startswith(root.rstrip(b"/") + b"/")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _upwards(path: str) -> Iterator[str]:
    yield path
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def _origin(mounts: list[Mount], path: bytes) -> tuple[tuple[int, int], bytes] | None:
    """Return the device of a path's file system, and its path in it; None if no mount is found."""
    over = [mount for mount in mounts if _is_below(path, mount.point)]
    if not over:
        return None
    mount = max(reversed(over), key=lambda mount: len(mount.point))  # the last mount at a mount point is visible
    rest = path[len(mount.point.rstrip(b"/")) :]
    return mount.device, mount.root.rstrip(b"/") + rest
