"""How a directory differs from what was pulled or pushed last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.core.directory.scan_diff import ChangeEntries
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import Delete, Kind, Node, Touch, Write
from agent.errors import DivergedError
from agent.sync.local.open_directory import open_directory
from agent.sync.local.overwrite_check import BEHIND, OTHER
from agent.sync.local.scan_directory import survey
from agent.sync.operation.workspace_context import Site

Mark = Literal["added", "changed", "deleted", "touched"]


@dataclass(slots=True)
class Difference:
    """One path that differs. `kind` is what stands there now (of a deletion: what stood there).

    `details` names what differs of a changed path: content, type, mode, owner, mtime, xattrs, target, links.
    """

    mark: Mark
    path: bytes
    kind: str
    size: int = 0
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class StatusReport:
    """How a directory differs from what was pulled or pushed last.

    `interrupted` says that a pull into it did not end, `outdated` that what is remembered is older than the last pull
    or push: then it is not known who made the differences.
    """

    target: str
    frontier: list[str]
    differences: list[Difference]
    sparse: list[str] = field(default_factory=list)
    interrupted: bool = False
    outdated: bool = False


def status(site: Site) -> StatusReport:
    """Compare the directory with what is remembered of it. Reads nothing from the target, writes nothing.

    Raises:
        DivergedError: the directory is not ours, or another one.
        WorkspaceError: it cannot be read.
    """
    with open_directory(site) as directory:
        memory, interrupted = directory.memory, directory.interrupted
        if interrupted:
            site.progress.notice(f"{site.directory}: {interrupted.what}; {interrupted.remedy(site.directory)}")
        if memory is None:
            if interrupted and interrupted.target:
                return StatusReport(interrupted.target, [], [], _shown(interrupted.sparse), interrupted=True)
            raise directory.damage or DivergedError(
                OTHER if directory.other else "the directory was not pulled or pushed by this program",
                subject=site.directory,
                remedy="pull into an empty directory, or push this one to a target that holds nothing",
            )
        if directory.is_behind:
            site.progress.notice(f"{site.directory}: {BEHIND}; what differs need not have been made here")
        look = survey(site, directory.root, memory.known, memory.clean_before)
        standing = {old.path: old for old, _ in (*look.sifted.suspects, *look.sifted.replaced.values())}
        return StatusReport(
            target=memory.target,
            frontier=list(memory.union.frontier),
            differences=list(differences(look.entries, standing)),
            sparse=_shown(memory.sparse),
            interrupted=interrupted is not None,
            outdated=directory.is_behind,
        )


def _shown(globs: tuple[bytes, ...]) -> list[str]:
    return [glob.decode(errors="backslashreplace") for glob in globs]


def differences(entries: ChangeEntries, standing: dict[bytes, StateRow]) -> Iterator[Difference]:
    """Yield what a change's entries mean to people: one difference for each path."""
    written = {entry.path for entry in entries.rest if type(entry) is Write}
    for entry in entries:
        match entry:
            case Write():
                old = standing.get(entry.path)
                details = compare(old.node, entry.node) if old else ()
                mark: Mark = "changed" if old and old.fingerprint is not None else "added"
                said = details or (("links",) if old else ())
                yield Difference(mark, entry.path, entry.node.kind, entry.node.size, said)
            case Delete() if entry.path not in written:
                yield Difference("deleted", entry.path, entry.kind)
            case Touch():
                yield Difference("touched", entry.path, Kind.FILE, details=("mtime",))
            case _:
                pass


def compare(old: Node, new: Node) -> tuple[str, ...]:
    """Return the names of what differs between two nodes."""
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
