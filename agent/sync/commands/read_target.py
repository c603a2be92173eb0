"""Log, list, cat and diff of a target without a pull, from tables of contents and ranges of layers.

Only a foreign base has no table of contents, so that its layers are read whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.core.directory.sparse_globs import selection
from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.conflict_record import record_conflicts
from agent.core.image.image import Layer
from agent.core.merge.merge import Merged
from agent.core.merge.path_order import join
from agent.core.model.entry import Delete, Kind, Touch, TreeEntry, Version, Write
from agent.core.model.record import Record
from agent.core.spelling.path import check_path, show
from agent.core.spelling.reference import Reference
from agent.errors import UsageError
from agent.store.port import Store
from agent.sync.commands.directory_status import Difference, Mark, compare
from agent.sync.operation.report import ConflictReport, conflict_reports
from agent.sync.remote.missing_target import check_globs, existing
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import retry_vanished
from agent.sync.remote.target import Target
from agent.sync.remote.target_repository import resolve


@dataclass(slots=True)
class LogEntry:
    """One change of a workspace. `stamp` is ns since 1970; sizes in bytes.

    `squash` is the id of the squash in its place; then `layer` and `size` are the squash's, and there are no counts.

    `pod` is the uid of the pod that made it. `superseded`: a later attempt of its lane, or a later pod, replaces it, so
    that it has no effect.
    """

    id: str
    stamp: int
    lane: str
    attempt: int | None
    parents: list[str]
    message: str
    base: str | None
    layer: str
    size: int
    written: int | None = 0
    deleted: int | None = 0
    touched: int | None = 0
    annotations: dict[str, str] = field(default_factory=dict)
    superseded: bool = False
    squash: str | None = None
    pod: str | None = None


@dataclass(slots=True)
class Log:
    """The changes of a workspace, newest first; the count of conflicts, and the first of them."""

    changes: list[LogEntry]
    conflict_count: int = 0
    conflicts: list[ConflictReport] = field(default_factory=list)


@dataclass(slots=True)
class ListedPath:
    """One path of a workspace image."""

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    change: str | None
    group: int | None


def log(store: Store, reference: Reference, limits: ArchiveLimits = DEFAULT_LIMITS) -> Log:
    """Return the changes of a workspace, newest first, the base last, and their conflicts.

    Raises:
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = _target(store, reference, limits)
    return retry_vanished(target, lambda: _log(target))


def _log(target: Target) -> Log:
    snapshot = existing(target)
    union = target.complete(snapshot.union)
    layers = target.layers(union)
    superseded = union.superseded
    old = [entry.image for record in union.dropped.values() if (entry := target.entry(record))]
    entries = []
    for layer in reversed(unite([union.image(target.tag), *old]).order):
        described = (
            [layer.record] if layer.record else sorted(layer.squash.covers, key=_version) if layer.squash else []
        )
        kinds = [type(entry) for entry in layers.toc(layer)] if layer.record else None
        entries += [_entry(record, layer, kinds, record.id in superseded) for record in reversed(described)]
    entries.sort(key=lambda entry: (entry.stamp, entry.id), reverse=True)
    for base, parts in sorted(union.bases.items()):
        digest = parts[-1].digest if parts else ""
        entries.append(LogEntry(base, 0, "base", None, [], "", base, digest, sum(part.size for part in parts)))
    # Head names the conflicts between its changes, so that no base need be read.
    if snapshot.head and snapshot.is_ours and snapshot.head_ids == union.ids:
        conflicts = snapshot.head.image.conflicts
    else:
        conflicts = record_conflicts(layers.merged(union).conflicts)
    return Log(entries, conflicts.count, conflict_reports(conflicts.first))


def _version(record: Record) -> Version:
    return record.version


def _entry(record: Record, layer: Layer, kinds: list[type] | None, superseded: bool) -> LogEntry:
    """Return the log entry of a change; a squashed one, whose layer is gone, has no counts."""
    return LogEntry(
        id=record.id,
        stamp=record.stamp,
        lane=record.lane,
        attempt=record.attempt,
        parents=list(record.parents),
        message=record.message,
        base=record.base,
        layer=layer.digest,
        size=layer.size,
        written=kinds.count(Write) if kinds is not None else None,
        deleted=kinds.count(Delete) if kinds is not None else None,
        touched=kinds.count(Touch) if kinds is not None else None,
        annotations=dict(record.annotations),
        superseded=superseded,
        squash=layer.squash.id if layer.squash else None,
        pod=record.pod.uid if record.pod else None,
    )


def ls(
    store: Store,
    reference: Reference,
    paths: tuple[bytes, ...],
    *,
    at: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Iterator[ListedPath]:
    """Yield the paths of a workspace image, in bytes order: all, or those that `paths` (globs) select.

    Raises:
        UsageError: there is no such change, or one of `paths` selects nothing; it is raised after all paths.
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = _target(store, reference, limits)
    selected = selection(paths)

    def merged() -> Merged:
        union = _open(target, at)
        return target.layers(union).merged(union)

    for entry in retry_vanished(target, merged).tree():
        if selected(entry.path):
            node = entry.node
            yield ListedPath(
                path=entry.path,
                kind=node.kind,
                mode=node.mode,
                uid=node.uid,
                gid=node.gid,
                size=node.size,
                mtime=node.mtime,
                target=node.target,
                change=entry.version.id if entry.version else None,
                group=entry.group,
            )
    check_globs(str(reference), selected)


def cat(
    store: Store, reference: Reference, path: bytes, *, at: str | None = None, limits: ArchiveLimits = DEFAULT_LIMITS
) -> Iterator[bytes]:
    """Yield the content of a file in a workspace image.

    Raises:
        UsageError: there is no such change or file.
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = _target(store, reference, limits)
    yield from retry_vanished(target, lambda: _content(target, check_path(path.strip(b"/")), at))


def _content(target: Target, wanted: bytes, at: str | None) -> Iterator[bytes]:
    """Return a file's content, after its first chunk was read."""
    union = _open(target, at)
    layers = target.layers(union)
    for entry in layers.merged(union).tree():
        if entry.path == wanted:
            break
    else:
        raise UsageError("no such path in the workspace", subject=show(wanted), remedy="list the paths to find it")
    if entry.node.kind is not Kind.FILE:
        raise UsageError(f"a {entry.node.kind}, not a file", subject=show(wanted), remedy="name a file")
    chunks = chain.from_iterable(chunks for _, chunks in layers.contents(entry.layer, [entry]))
    return chain([next(chunks, b"")], chunks)


def diff(
    store: Store, reference: Reference, old: str | None, new: str | None, limits: ArchiveLimits = DEFAULT_LIMITS
) -> list[Difference]:
    """Return the differences between two changes' trees.

    Args:
        old: the id of a change, or its beginning; None for the parents of `new`.
        new: likewise; None for the workspace as it is now.

    Raises:
        UsageError: there is no such change.
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = _target(store, reference, limits)
    return retry_vanished(target, lambda: _diff(target, old, new))


def _diff(target: Target, old: str | None, new: str | None) -> list[Difference]:
    union = _open(target)
    layers = target.layers(union)
    name = target.name
    ends = [resolve(union, new, name)] if new else list(union.frontier)
    records = union.records
    begins = [resolve(union, old, name)] if old else [p for end in ends if end in records for p in records[end].parents]
    before = list(layers.merged(target.as_of(union, begins)).tree())
    after = list(layers.merged(target.as_of(union, ends)).tree())
    return list(_differences(before, after))


def _differences(before: list[TreeEntry], after: list[TreeEntry]) -> Iterator[Difference]:
    nothing = Fingerprint(0, 0, 0, 0, 0, 0, 0)
    known = (StateRow(row.path, row.node, row.version, nothing) for row in before)
    for old, new in join(known, after):
        if new is None:
            assert old is not None
            yield Difference("deleted", old.path, old.node.kind, old.node.size)
        elif old is None:
            yield Difference("added", new.path, new.node.kind, new.node.size)
        elif details := compare(old.node, new.node):
            mark: Mark = "touched" if details == ("mtime",) else "changed"
            yield Difference(mark, new.path, new.node.kind, new.node.size, details)


def _target(store: Store, reference: Reference, limits: ArchiveLimits) -> Target:
    return Target(lambda _: store, reference, this_platform(None), limits=limits)


def _open(target: Target, at: str | None = None) -> ChangeSet:
    union = existing(target).union
    return target.complete(union) if at is None else target.as_of(union, [resolve(union, at, target.name)])
