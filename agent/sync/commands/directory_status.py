"""The differences between a directory and its state, for `agent status` (docs/reference/cli.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.core.directory.scan_diff import ChangeEntries
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import Delete, Kind, Node, Touch, Write
from agent.errors import DivergedError
from agent.sync.directory_scan.scan_directory import scan_directory
from agent.sync.local.open_directory import BEHIND, OTHER, open_directory
from agent.sync.operation.workspace_context import WorkspaceContext

Mark = Literal["added", "changed", "deleted", "touched"]


@dataclass(slots=True)
class Difference:
    """One path that differs. `kind` is the type of the file there now, or of a deleted file.

    `details` names what differs of a changed path: content, type, mode, owner, mtime, xattrs, target, links.
    """

    mark: Mark
    path: bytes
    kind: str
    size: int = 0
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class StatusReport:
    """The differences between a directory and its state.

    `interrupted`: a pull into it did not end. `outdated`: the state is older than the last pull or push, so that the
    differences need not be local changes.
    """

    target: str
    frontier: list[str]
    differences: list[Difference]
    sparse: list[str] = field(default_factory=list)
    interrupted: bool = False
    outdated: bool = False


def status(context: WorkspaceContext) -> StatusReport:
    """Compare the directory with its state. Reads nothing from the target, writes nothing.

    Raises:
        DivergedError: the directory has no state, or it is about another directory.
        WorkspaceError: it cannot be read.
    """
    with open_directory(context) as directory:
        state, interrupted = directory.state, directory.interrupted
        if interrupted:
            context.progress.notice(f"{context.directory}: {interrupted.what}; {interrupted.remedy(context.directory)}")
        if state is None:
            if interrupted and interrupted.target:
                return StatusReport(interrupted.target, [], [], _shown(interrupted.sparse), interrupted=True)
            raise directory.damage or DivergedError(
                OTHER if directory.other else "the directory was not pulled or pushed by this program",
                subject=context.directory,
                remedy="pull into an empty directory, or push this one to a target that holds nothing",
            )
        if directory.is_behind:
            context.progress.notice(f"{context.directory}: {BEHIND}; what differs need not have been made here")
        diff = scan_directory(context, directory.root, state.rows, state.clean_before)
        old_rows = {old.path: old for old, _ in (*diff.scan_join.suspects, *diff.scan_join.replaced.values())}
        return StatusReport(
            target=state.target,
            frontier=list(state.union.frontier),
            differences=list(differences(diff.entries, old_rows)),
            sparse=_shown(state.sparse),
            interrupted=interrupted is not None,
            outdated=directory.is_behind,
        )


def _shown(globs: tuple[bytes, ...]) -> list[str]:
    return [glob.decode(errors="backslashreplace") for glob in globs]


def differences(entries: ChangeEntries, old_rows: dict[bytes, StateRow]) -> Iterator[Difference]:
    """Yield one difference for each path of a change's entries.

    Args:
        old_rows: the state's rows of the paths, as far as there are some.
    """
    written = {entry.path for entry in entries.rest if type(entry) is Write}
    for entry in entries:
        match entry:
            case Write():
                old = old_rows.get(entry.path)
                details = compare(old.node, entry.node) if old else ()
                mark: Mark = "changed" if old and old.fingerprint is not None else "added"
                shown = details or (("links",) if old else ())
                yield Difference(mark, entry.path, entry.node.kind, entry.node.size, shown)
            case Delete() if entry.path not in written:
                yield Difference("deleted", entry.path, entry.kind)
            case Touch():
                yield Difference("touched", entry.path, Kind.FILE, details=("mtime",))
            case _:
                pass


def compare(old: Node, new: Node) -> tuple[str, ...]:
    """Return the names of the attributes that differ between two nodes."""
    if old.kind is not new.kind:
        return ("type",)
    found = {
        "content": (old.size, old.sha256, old.device) != (new.size, new.sha256, new.device),
        "target": old.target != new.target,
        "mode": old.mode != new.mode,
        "owner": (old.uid, old.gid) != (new.uid, new.gid),
        "xattrs": old.xattrs != new.xattrs,
        "mtime": old.mtime != new.mtime and new.kind is not Kind.DIR,
    }
    return tuple(name for name, differs in found.items() if differs)
