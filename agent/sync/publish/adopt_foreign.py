"""Foreign layers on top of ours, published as entries of the target (design, "Foreign heads")."""

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
from agent.sync.contents.spool import Spool
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.publish.publish_entry import publish_entry
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot
from agent.sync.upload.merged_image import merged_image
from agent.sync.upload.uploaded_layer import uploaded_layer


def adopt_head(
    context: WorkspaceContext, target: Target, snapshot: TargetSnapshot, compression: Compression = "zstd"
) -> TargetSnapshot:
    """Publish the foreign layers of head as entries, and return the snapshot with these.

    Head may be replaced only if it holds nothing that no entry holds (G9).

    Raises:
        ConflictError: a foreign layer cannot be read, so that head can be neither adopted nor replaced.
        VanishedError: something vanished since the snapshot; read the target again.
        AuthError, UnavailableError: see `agent.errors`.
    """
    own = snapshot.own_head
    if snapshot.is_ours or own is None:
        return snapshot
    try:
        _, images = adopt(context, target, unite([own, *snapshot.others]), compression)
    except VanishedError:
        raise
    except (IntegrityError, UnsafeArchiveError, UnsupportedError) as error:
        assert snapshot.head is not None
        raise ConflictError(
            f"someone else put a layer on top that cannot be kept ({error.subject}: {error.what}); "
            "what was pushed is published as entries",
            subject=f"{target.name}@{snapshot.head.digest}",
            remedy="keep that image under another tag and put an older one back, or delete this tag; then push or pull",
        ) from error
    return snapshot._replace(adopted=(*snapshot.adopted, *images))


def adopt(
    context: WorkspaceContext, target: Target, union: ChangeSet, compression: Compression
) -> tuple[ChangeSet, list[Image]]:
    """Publish the foreign layers of a set of changes as entries; return the set with these, and the entries' images.

    Raises:
        IntegrityError, UnsafeArchiveError: such a layer is damaged.
        AuthError, UnavailableError: see `agent.errors`.
    """
    images: list[Image] = []
    for layer in union.order:
        if not is_unpublished(layer):
            continue
        assert layer.record is not None
        entry = target.entry(replace(layer.record, target=target.tag))
        images.append(entry.image if entry else _publish(context, target, union, layer, compression))
        union = unite([union.image(target.tag), images[-1]])
    return union, images


def _publish(
    context: WorkspaceContext, target: Target, union: ChangeSet, layer: Layer, compression: Compression
) -> Image:
    """Publish one foreign layer as an entry, written anew as a layer of ours.

    The layer as it is could not be put on other layers than its own: it need not list the directories above its paths,
    and may have opaque whiteouts, and hard links to files below it.
    """
    record = layer.record
    assert record is not None
    context.progress.notice(f"{target.name}: a layer that someone else put on top is kept as change {record.id[:12]}")
    below = target.complete(union.past(record.parents))
    layers = target.layers(unite([below.image(target.tag), Image((layer,), target.tag)]))
    entries = list(layers.toc(layer))
    with Spool(context.state) as spool:
        nodes = (entry for entry in entries if isinstance(entry, Write | Context))
        spool.fill(layers, layer.diff_id, (TreeEntry(e.path, e.node, None, layer.diff_id, e.offset) for e in nodes))

        def contents(entry: Write | Context | Kept | Listed) -> tuple[Node, Iterator[bytes]]:
            return entry.node, spool.read(entry.offset, entry.node.size)

        writers: list[LayerWriter] = []

        def chunks() -> Iterator[bytes]:
            writers.append(LayerWriter(entries, list(whiteouts(entries)), contents, compression))
            return iter(writers[-1])

        stored = target.store.upload(chunks)
    packed = writers[-1].result
    record = replace(record, target=target.tag, diff_id=packed.diff_id, toc=packed.toc.sha256)
    own = unite(
        [union.past(record.parents).image(target.tag), Image((uploaded_layer(record, packed, stored),), target.tag)]
    )
    image, _ = merged_image(target, own)
    image = image._replace(lane=FOREIGN_LANE, attempt=None, change=record.id)
    publish_entry(context, target, image, record)
    return image
