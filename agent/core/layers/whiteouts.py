"""Decide which deletions become whiteouts in the tar of a layer (design, "Layers")."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping

from agent.core.directory.state_row import StateRow
from agent.core.merge.path_order import PathStack
from agent.core.model.change import SquashEntry, Tombstone
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Write, toc_order
from agent.core.spelling.path import ancestors


def mark_whiteouts(entries: Iterable[TocEntry], rows: Iterable[StateRow]) -> list[TocEntry]:
    """Return a change's entries, each deletion marked that gets a whiteout in the tar.

    A whole directory gets one whiteout only if it is gone and all of it was pulled. A directory that was removed and
    created anew gets whiteouts path by path. A path that a file replaced gets none. A directory above a whiteout is
    listed even if it is gone from the disk: because it holds paths that were not pulled, or because it had no version
    that could be deleted.

    Args:
        entries: in `toc_order`, whiteouts not yet marked. Writes of new paths may be left out: no path from before
            lies below them.
        rows: the state before the change.
    """
    entries = list(entries)
    removed = {entry.path for entry in entries if type(entry) is Delete}
    if not removed:
        return entries
    removed.update([above for path in removed for above in ancestors(path)])
    unpulled: list[bytes] = []
    nodes: dict[bytes, Node] = {}
    for row in rows:
        if row.fingerprint is None:
            unpulled.append(row.path)
        if row.node.kind is Kind.DIR and row.path in removed:
            nodes[row.path] = row.node
    placed = {entry.path: entry.node for entry in entries if isinstance(entry, Write | Context)}
    kept = {path for path in nodes if _any_below(unpulled, path)}
    marked = list(_mark(entries, placed, kept))
    listed = {above for path in whiteouts(marked) for above in ancestors(path)} - placed.keys()
    if listed:
        marked.extend(Context(path, nodes[path]) for path in listed if path in nodes)
        marked.sort(key=toc_order)
    return marked


def whiteouts(entries: Iterable[TocEntry | SquashEntry]) -> Iterator[bytes]:
    """Yield the paths of the whiteouts that the tar holds, in bytes order."""
    for entry in entries:
        if isinstance(entry, Delete | Tombstone) and entry.whiteout:
            yield entry.path


def _any_below(paths: list[bytes], directory: bytes) -> bool:
    prefix = directory + b"/"
    at = bisect_left(paths, prefix)
    return at < len(paths) and paths[at].startswith(prefix)


def _mark(entries: list[TocEntry], placed: Mapping[bytes, Node], kept: Collection[bytes]) -> Iterator[TocEntry]:
    # Paths whose whole subtree needs no whiteout of its own.
    covered: PathStack[None] = PathStack()
    for entry in entries:
        if covered.above(entry.path):
            yield entry
            continue
        node = placed.get(entry.path)
        if node is not None and node.kind is not Kind.DIR:
            covered.push(entry.path, None)
        elif type(entry) is Delete and node is None and entry.path not in kept:
            covered.push(entry.path, None)
            yield entry._replace(whiteout=True)
            continue
        yield entry
