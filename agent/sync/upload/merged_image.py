"""The image of a merged set of changes, with its fix-up, and the conflicts in it (design, "Head")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from agent.archive.stream.compression import media_type_of
from agent.archive.tar.plain_tar import plain_tar
from agent.core.image.change_set import ChangeSet
from agent.core.image.conflict_record import record_conflicts
from agent.core.image.image import Image, Layer
from agent.core.layers.linearise import FixUp, fix_up
from agent.core.merge.conflict import Conflict, ConflictKind
from agent.core.model.entry import TreeEntry
from agent.core.model.record import Record
from agent.store.port import Store
from agent.sync.remote.target import Target

if TYPE_CHECKING:
    from agent.sync.contents.layer_contents import Layers


def conflicts_of(record: Record, conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Return the conflicts that a change takes part in.

    A conflict between two bases belongs to the changes that brought them.
    """
    starts = record.base is not None and record.parents == (record.base,)
    return [
        conflict
        for conflict in conflicts
        if record.id in conflict.ids
        or (conflict.kind is ConflictKind.BASE and starts and str(record.base) in conflict.ids)
    ]


def conflicts_in(target: Target, whole: ChangeSet) -> Sequence[Conflict]:
    """Return the conflicts between the changes of a set."""
    return () if whole.is_chain else target.layers(whole).merged(whole).conflicts


def merged_image(target: Target, whole: ChangeSet) -> tuple[Image, Sequence[Conflict]]:
    """Return the image of `whole`, and the conflicts in it.

    Its layers come in order; of superseded changes it has only the records. If those layers alone would give another
    tree, a fix-up comes last, which is uploaded (design, "Head"). The image names the conflicts.
    """
    if whole.is_chain:
        return whole.image(target.tag), ()
    whole = target.complete(whole)
    layers = target.layers(whole)
    merged = layers.merged(whole)
    fix = fix_up(merged)
    stack = whole.without_layers(merged.superseded)
    image = stack.image(target.tag, _store_fix_up(target.store, layers, fix) if fix else None)
    return image._replace(conflicts=record_conflicts(merged.conflicts)), merged.conflicts


def _store_fix_up(store: Store, layers: Layers, fix: FixUp) -> Layer:
    """Store the fix-up's layer: a plain tar, so that its bytes depend on no library's version."""

    def content(row: TreeEntry) -> Iterator[bytes]:
        for _, chunks in layers.contents(row.layer, [row]):
            yield from chunks

    stored = store.upload(lambda: plain_tar(fix.whiteouts, fix.rows, content))
    return Layer(media_type_of("none"), stored.digest, stored.size, stored.digest, "fixup")
