"""Turn the layers that another tool put on top of our image into changes (design, "Foreign heads")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agent.core.image.change_set import unite
from agent.core.image.image import Image, Layer
from agent.core.model.record import FOREIGN_LANE, Record
from agent.core.spelling.digest import Digest, digest_of


def absorb(image: Image, known: Sequence[Image], tag: str) -> Image | None:
    """Return `image` with its lowest layers identified from `known`, and each further one as a change.

    The first new change has the newest known changes for parents, each other one the change below. All readers of the
    image compute the same records. The records have no table of contents before they are published.

    Args:
        image: an image with layers of the kind `foreign`.
        known: other images of the target, which may have the metadata that layers of `image` lost.
        tag: the target's tag.

    Returns:
        None if the lowest layers are not known.
    """
    below = tuple(_identified(image.layers, known))
    if all(layer.kind == "fixup" for layer in below):
        return None
    past = unite([image._replace(layers=below)])
    parents, stamp, base = past.frontier, past.newest_stamp, min(past.bases, default=None)
    layers = list(below)
    chain = list(chain_ids(layer.diff_id for layer in image.layers))
    for layer, place in list(zip(image.layers, chain, strict=True))[len(below) :]:
        stamp += 1
        record = Record(tag, parents, FOREIGN_LANE, None, stamp, base, layer.diff_id, "", foreign=place)
        layers.append(layer._replace(kind="change", record=record, base=None, encoding=None, toc=None))
        parents = (record.id,)
    return image._replace(layers=tuple(layers))


def is_unpublished(layer: Layer) -> bool:
    """Return whether a layer is a foreign one that no entry holds yet."""
    return layer.record is not None and layer.record.foreign is not None and not layer.record.toc


def chain_ids(diff_ids: Iterable[Digest]) -> Iterator[Digest]:
    """Yield the chain id of each layer of a stack, lowest first (image-spec, config.md, "Layer ChainID")."""
    chain: Digest | None = None
    for diff_id in diff_ids:
        chain = diff_id if chain is None else digest_of(f"{chain} {diff_id}".encode())
        yield chain


def _identified(layers: Sequence[Layer], known: Sequence[Image]) -> Iterator[Layer]:
    """Yield the lowest layers with their metadata, up to the first that is not known."""
    found = {layer.diff_id: layer for image in known for layer in image.layers if layer.kind not in ("base", "foreign")}
    at = 0
    for layer in _base_of(layers, known):
        at += 1
        yield layer
    for layer in layers[at:]:
        if layer.kind == "foreign":
            if layer.diff_id not in found:
                return
            layer = found[layer.diff_id]
        yield layer


def _base_of(layers: Sequence[Layer], known: Sequence[Image]) -> tuple[Layer, ...]:
    """Return the longest known base that the lowest layers, which have no metadata, begin with."""
    if not layers or layers[0].kind != "foreign":
        return ()
    stacks = [stack for stack in unite(known).bases.values() if 0 < len(stack) <= len(layers)]
    fitting = [stack for stack in stacks if all(a.diff_id == b.diff_id for a, b in zip(stack, layers, strict=False))]
    return max(fitting, key=lambda stack: (len(stack), stack[0].base), default=())
