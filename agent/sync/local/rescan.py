"""What a directory holds when what is remembered of it cannot be trusted, or shall not be."""

from __future__ import annotations

from agent.core.directory.state_after_change import UNKNOWN_FINGERPRINT
from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.merge.path_order import join
from agent.core.model.entry import Kind, Node, kind_of
from agent.core.spelling.path import show
from agent.sync.local.directory_state import Memory
from agent.sync.operation.workspace_context import Site
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.scan import Scan


def distrusted(site: Site, root: Root, memory: Memory | None) -> list[StateRow]:
    """Return what stands in a directory: as remembered where it stands untouched, else as something to replace.

    After a pull that was killed, or when local changes shall be discarded.
    """

    def warn(path: bytes, why: str) -> None:
        site.progress.notice(f"{show(path)}: {why}")

    rows = []
    scan = Scan(root, warn)
    for old, found in join(memory.known if memory else (), scan):
        if found is None:
            if old is not None and old.fingerprint is None:
                rows.append(old)
        elif (
            old is not None
            and memory
            and old.fingerprint == found.fingerprint
            and found.fingerprint.ctime < memory.clean_before
        ):
            rows.append(old)
        else:
            rows.append(_replaceable(found.path, kind_of(found.fingerprint.mode), found.fingerprint))
    rows.extend(_replaceable(path, Kind.FILE, UNKNOWN_FINGERPRINT) for path in scan.leftovers)
    return sorted(rows, key=lambda row: row.path)


def _replaceable(path: bytes, kind: Kind, stands: Fingerprint) -> StateRow:
    # No recorded mode is negative, so that this equals nothing that a tree may want here.
    return StateRow(path, Node(kind, -1), None, stands)
