"""The image of a set of changes that no single writer had on its disk, and what in it disagrees."""

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
    from agent.sync.remote.layers import Layers


def involving(record: Record, conflicts: Iterable[Conflict]) -> list[Conflict]:
    """Return the conflicts that a change takes part in: what others disagree about is not its writer's business.

    Two bases are said to differ by the change that brought one of them.
    """
    starts = record.base is not None and record.parents == (record.base,)
    return [
        conflict
        for conflict in conflicts
        if record.id in conflict.ids
        or (conflict.kind is ConflictKind.BASE and starts and str(record.base) in conflict.ids)
    ]


def disagreements(target: Target, whole: ChangeSet) -> Sequence[Conflict]:
    """Return where the changes of a set disagree."""
    return () if whole.is_chain else target.layers(whole).merged(whole).conflicts


def merged_image(target: Target, whole: ChangeSet) -> tuple[Image, Sequence[Conflict]]:
    """Return the image that holds `whole`, and what in it disagrees.

    Its layers come in order, of superseded changes only the records; where those layers alone would give another tree,
    a fix-up comes last, which is stored in the target's repository (design, "Head"). The image says what disagrees.
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
