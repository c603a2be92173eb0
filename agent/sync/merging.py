"""The image of a set of changes that no single writer had on its disk, and what in it disagrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.archive.compression import media_type_of
from agent.archive.plain import plain_tar
from agent.core.conflict import Conflict
from agent.core.entry import TreeEntry
from agent.core.image import Image, Layer
from agent.core.linearise import FixUp, fix_up
from agent.core.merge import merge
from agent.core.path import show
from agent.core.union import Union
from agent.store.port import Store
from agent.sync.layers import Layers
from agent.sync.report import ConflictReport
from agent.sync.site import Site
from agent.sync.target import Target


def conflict_reports(conflicts: Sequence[Conflict]) -> list[ConflictReport]:
    """Return conflicts as people and machines are told of them."""
    return [
        ConflictReport(
            path=show(conflict.path),
            kind=conflict.kind,
            ids=list(conflict.ids),
            lanes=[lane or "" for lane in conflict.lanes],
            won=conflict.winner,
        )
        for conflict in conflicts
    ]


def merged_image(site: Site, target: Target, whole: Union) -> Image:
    """Return the image that holds `whole`: its layers in order and, where they alone would give another tree, a fix-up.

    The fix-up's layer is stored in the target's repository.
    """
    if whole.is_chain:
        return whole.image(target.tag)
    layers = Layers(target.store, whole)
    merged = merge(layers.changes(whole))
    for conflict in merged.conflicts:
        site.progress.notice(f"conflict: {show(conflict.path)}: {conflict.kind} ({', '.join(conflict.ids)})")
    fix = fix_up(merged)
    return whole.image(target.tag, _store_fix_up(target.store, layers, fix) if fix else None)


def _store_fix_up(store: Store, layers: Layers, fix: FixUp) -> Layer:
    """Store the fix-up's layer: a plain tar, so that its bytes depend on no library's version."""

    def content(row: TreeEntry) -> Iterator[bytes]:
        for _, chunks in layers.contents(row.layer, [row]):
            yield from chunks

    stored = store.upload(lambda: plain_tar(fix.whiteouts, fix.rows, content))
    return Layer(media_type_of("none"), stored.digest, stored.size, stored.digest, "fixup")
