"""Decide whether a state belongs to the directory that is there now (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Identity(NamedTuple):
    """The identity of a directory.

    Attributes:
        device: st_dev. Some file systems get another one at each mount (network, overlay, btrfs).
        inode: st_ino. A new directory often gets the number of one that was removed.
        mark: the name of the last pull that wrote into it (`workspace.filesystem.mark`), or None.
    """

    device: int
    inode: int
    mark: str | None


def is_same(then: Identity, now: Identity, has_untouched_path: Callable[[], bool]) -> bool:
    """Return whether two identities are of one directory.

    Equal device and inode are enough, unless the state has a mark and the directory has none. Otherwise the marks must
    be equal, or some path of the state must still be there unchanged; the inode must be equal in any case.

    Args:
        then: the identity in the state.
        now: the directory that is there.
        has_untouched_path: returns whether some path of the state is there unchanged; it may take long.
    """
    if then.inode != now.inode:
        return False
    if then.mark is not None and then.mark == now.mark:
        return True
    if then.device == now.device and (then.mark is None or now.mark is not None):
        return True
    return has_untouched_path()
