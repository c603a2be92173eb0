"""Whether what is remembered of a directory is about the directory that is there now."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Identity(NamedTuple):
    """Which directory it is.

    Attributes:
        device: st_dev. Some file systems get another one at each mount (network, overlay, btrfs).
        inode: st_ino. A new directory often gets the number of one that was removed.
        mark: what names the last pull that wrote into it (`workspace.filesystem.mark`), or None.
    """

    device: int
    inode: int
    mark: str | None


def is_same(then: Identity, now: Identity, has_untouched_path: Callable[[], bool]) -> bool:
    """Say whether two identities are of one directory.

    Device and inode are enough where there is no better evidence. Where one of them speaks against it (another device,
    or a mark that is gone), something remembered must still be there, or the mark must be the very same.

    Args:
        then: what was remembered.
        now: the directory that is there.
        has_untouched_path: says whether a path that is remembered is there untouched; it may take long.
    """
    if then.inode != now.inode:
        return False
    if then.mark is not None and then.mark == now.mark:
        return True
    if then.device == now.device and (then.mark is None or now.mark is not None):
        return True
    return has_untouched_path()
