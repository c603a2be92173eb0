"""Layers that someone else put on top of ours, made entries of the target (design, "Foreign heads")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.archive.layer.writer import LayerWriter
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.foreign_layers import is_unpublished
from agent.core.image.image import Image, Layer
from agent.core.layers.whiteouts import whiteouts
from agent.core.model.change import Kept, Listed
from agent.core.model.entry import Context, Node, TreeEntry, Write
from agent.core.model.record import FOREIGN_LANE
from agent.errors import ConflictError, IntegrityError, UnsafeArchiveError, UnsupportedError, VanishedError
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.packed_layer import describe
from agent.sync.publish.publish_entry import publish_entry
from agent.sync.remote.merged_image import merged_image
from agent.sync.remote.spool import Spool
from agent.sync.remote.target import Seen, Target


def adopt_head(site: Site, target: Target, seen: Seen, compression: Compression = "zstd") -> Seen:
    """Publish what someone else put on top of ours at the target's tag, and return it among the entries.

    Head is ours to replace only when nothing stands in it alone (G9).

    Raises:
        ConflictError: it cannot be read, so that it can be neither kept nor replaced.
        VanishedError: something vanished since it was seen; look again.
    """
    known = seen.known_head
    if seen.is_ours or known is None:
        return seen
    try:
        _, images = adopt(site, target, unite([known, *seen.others]), compression)
    except VanishedError:
        raise
    except (IntegrityError, UnsafeArchiveError, UnsupportedError) as error:
        assert seen.head is not None
        raise ConflictError(
            f"someone else put a layer on top that cannot be kept ({error.subject}: {error.what}); "
            "what was pushed is published as entries",
            subject=f"{target.name}@{seen.head.digest}",
            remedy="keep that image under another tag and put an older one back, or delete this tag; then push or pull",
        ) from error
    return seen._replace(adopted=(*seen.adopted, *images))


def adopt(site: Site, target: Target, union: ChangeSet, compression: Compression) -> tuple[ChangeSet, list[Image]]:
    """Return a set of changes without layers that no entry holds, and the images of the entries that hold them now.

    Raises:
        IntegrityError, UnsafeArchiveError: such a layer is damaged.
    """
    images: list[Image] = []
    for layer in union.order:
        if not is_unpublished(layer):
            continue
        assert layer.record is not None
        there = target.entry(replace(layer.record, target=target.tag))
        images.append(there.image if there else _publish(site, target, union, layer, compression))
        union = unite([union.image(target.tag), images[-1]])
    return union, images


def _publish(site: Site, target: Target, union: ChangeSet, layer: Layer, compression: Compression) -> Image:
    """Publish one layer of others as an entry, written anew as a layer of ours.

    As it is it could not be put on other layers than those it was made for: it need not list the directories above
    what it holds, may have opaque whiteouts, and hard links to what lies below it.
    """
    record = layer.record
    assert record is not None
    site.progress.notice(f"{target.name}: a layer that someone else put on top is kept as change {record.id[:12]}")
    below = target.complete(union.past(record.parents))
    layers = target.layers(unite([below.image(target.tag), Image((layer,), target.tag)]))
    entries = list(layers.toc(layer))
    with Spool(site.state) as spool:
        kept = (entry for entry in entries if isinstance(entry, Write | Context))
        spool.fill(layers, layer.diff_id, (TreeEntry(e.path, e.node, None, layer.diff_id, e.offset) for e in kept))

        def contents(entry: Write | Context | Kept | Listed) -> tuple[Node, Iterator[bytes]]:
            return entry.node, spool.read(entry.offset, entry.node.size)

        writers: list[LayerWriter] = []

        def chunks() -> Iterator[bytes]:
            writers.append(LayerWriter(entries, list(whiteouts(entries)), contents, compression))
            return iter(writers[-1])

        stored = target.store.upload(chunks)
    packed = writers[-1].result
    record = replace(record, target=target.tag, diff_id=packed.diff_id, toc=packed.toc.sha256)
    own = unite([union.past(record.parents).image(target.tag), Image((describe(record, packed, stored),), target.tag)])
    image, _ = merged_image(target, own)
    image = image._replace(lane=FOREIGN_LANE, attempt=None, change=record.id)
    publish_entry(site, target, image, record)
    return image
