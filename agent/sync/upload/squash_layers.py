"""The layer of a squash: made of ranges of the old layers, in bounded memory, and uploaded (design, "Squashes")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from agent.archive.layer.writer import SquashWriter
from agent.archive.toc.toc_rules import InTar
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.squash_policy import LEAST, has_room, ids_in, newest_layers, settled
from agent.core.layers.linearise import fix_up
from agent.core.layers.squash_entries import PlannedEntry, SquashPlan, squash
from agent.core.layers.whiteouts import whiteouts
from agent.core.merge.merge import Merged, merge
from agent.core.model.change import Kept, Squash, SquashEntry
from agent.core.model.entry import Kind, Node, TreeEntry
from agent.core.model.squash_record import SquashRecord
from agent.store.port import Stored
from agent.sync.contents.layer_contents import Layers
from agent.sync.contents.toc_tables import SquashEntries, cannot_conflict
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import Progress, WorkspaceContext
from agent.sync.remote.target import Target
from agent.sync.upload.uploaded_layer import uploaded_layer

ENTRY_LAYERS = 24
"""An entry with more layers than this, base and own one included, is squashed by its push."""
HEAD_LAYERS = 96
"""Head with more layers than this, base included, is squashed by its next writer; consumers stop at 127."""
BATCH = 32 << 20
"""Bytes of small files that are read ahead at once."""
BATCH_ENTRIES = 20_000
"""Entries in memory meanwhile, at most."""
SMALL = 4 << 20


def limit_layers(
    context: WorkspaceContext,
    target: Target,
    union: ChangeSet,
    most: int,
    compression: Compression,
    finished: Collection[str] = (),
) -> ChangeSet:
    """Return a union whose image has at most `most` layers, as far as settled changes allow it.

    Args:
        union: the changes.
        most: the count of layers, base included.
        compression: of the squash's layer.
        finished: ids of changes of finished lanes.

    Raises:
        IntegrityError, UnsafeArchiveError: a layer is not what it promises.
        AuthError, UnavailableError: see `agent.errors`.
    """
    if union.layer_count <= most:
        return union
    free = settled(union, union.ids & set(finished))
    chosen = newest_layers(free.order)
    if len(chosen) < LEAST:
        return union
    if not has_room(union):
        context.progress.notice(
            f"{target.name}: the records of {len(union.ids):,} changes leave no room for a squash in a manifest; "
            "layers pile up, push to a new target"
        )
        return union
    return squash_changes(context, target, union, free, ids_in(chosen), compression)


def squash_changes(
    context: WorkspaceContext,
    target: Target,
    union: ChangeSet,
    free: ChangeSet,
    covers: Collection[str],
    compression: Compression,
) -> ChangeSet:
    """Return `union` with one squash of `covers`, after its layer was uploaded.

    Args:
        free: the settled part of `union`.
        covers: ids of changes in it, the newest ones of `free`.
    """
    free = target.complete(free)
    layers = target.layers(free)
    changes, squashes = layers.changes(free), layers.squashes(free)
    is_agreed = cannot_conflict(free, changes, squashes)
    plan = squash(merge(changes, squashes, agreed=is_agreed), covers)
    context.progress.stage("squash")
    writer, stored = _store(context, target, layers, plan, compression)
    packed = writer.result
    made = Squash("", plan.covers, plan.dropped, plan.records, SquashEntries(packed.toc), packed.diff_id)
    records = free.records
    record = SquashRecord(
        target=target.tag,
        covers=tuple(records[id_] for id_ in sorted(plan.covers)),
        dropped=tuple(records[id_] for id_ in sorted(plan.dropped - plan.covers) if id_ in records),
        diff_id=packed.diff_id,
        toc=packed.toc.sha256,
        plain=free.is_line and _is_plain(merge(changes, [*squashes, made], agreed=is_agreed)),
    )
    return unite([union.image(target.tag), Image((uploaded_layer(record, packed, stored),), target.tag)])


def _is_plain(merged: Merged) -> bool:
    return fix_up(merged) is None and not merged.conflicts


def _store(
    context: WorkspaceContext, target: Target, layers: Layers, plan: SquashPlan, compression: Compression
) -> tuple[SquashWriter, Stored]:
    gone = list(whiteouts(piece.entry for piece in plan)) if plan.has_whiteouts else []
    writers: list[SquashWriter] = []

    def content() -> Iterator[bytes]:
        contents = _Contents(layers, context.progress)
        writers.append(SquashWriter(contents.entries(plan), gone, contents, compression))
        return iter(writers[-1])

    stored = target.store.upload(content)
    return writers[-1], stored


class _Contents:
    """Opens the contents of a squash, in the order of the plan, from the layers that have them.

    Small files are read in batches, so that each old layer is read by a few ranges, and not by one for each file.
    """

    def __init__(self, layers: Layers, progress: Progress) -> None:
        self._layers = layers
        self._progress = progress
        self._read: dict[bytes, bytes] = {}
        self._large: dict[bytes, TreeEntry] = {}

    def __call__(self, entry: InTar) -> tuple[Node, bytes | Iterator[bytes]]:
        if entry.path in self._large:
            return entry.node, self._stream(self._large.pop(entry.path))
        return entry.node, self._read.pop(entry.path)

    def entries(self, plan: Iterable[PlannedEntry]) -> Iterator[SquashEntry]:
        """Yield the planned entries. The content of an entry can be opened after the entry was yielded."""
        groups: set[int] = set()
        batch: list[SquashEntry] = []
        wanted: dict[str, list[TreeEntry]] = defaultdict(list)
        size = 0
        for entry, row in plan:
            batch.append(entry)
            if row is None or not isinstance(entry, Kept) or not _is_first(entry, groups):
                continue
            if row.node.size > SMALL:
                self._large[row.path] = row
            else:
                wanted[row.layer].append(row)
                size += row.node.size
            if size >= BATCH or len(batch) >= BATCH_ENTRIES:
                self._fill(wanted)
                self._progress.advance(len(batch))
                yield from batch
                batch, size = [], 0
                wanted.clear()
        self._fill(wanted)
        self._progress.advance(len(batch))
        yield from batch

    def _stream(self, row: TreeEntry) -> Iterator[bytes]:
        for _, chunks in self._layers.contents(row.layer, [row]):
            yield from chunks

    def _fill(self, wanted: Mapping[str, Sequence[TreeEntry]]) -> None:
        for layer, rows in wanted.items():
            for row, chunks in self._layers.contents(layer, rows):
                self._read[row.path] = b"".join(chunks)


def _is_first(entry: Kept, groups: set[int]) -> bool:
    """Say whether this is the first name of a file, which has the content of its link group."""
    if entry.node.kind is not Kind.FILE or entry.group in groups:
        return False
    if entry.group:
        groups.add(entry.group)
    return True
