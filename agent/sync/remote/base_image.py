"""The base of a workspace: any image, or one directory of it (docs/decisions/base-path.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256

from agent.archive.stream.compression import media_type_of
from agent.archive.tar.plain_tar import plain_tar
from agent.core.image.change_set import unite
from agent.core.image.image import Image, Platform
from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.model.entry import TreeEntry
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import digest_of
from agent.core.spelling.path import show
from agent.core.spelling.reference import LayoutReference, Reference
from agent.errors import UsageError
from agent.remedy import OTHER_BASE
from agent.store.port import Store
from agent.sync.contents.layer_contents import Layers
from agent.sync.contents.spool import Spool
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.resolved_image import ResolvedImage, as_base, read_image

_CUTS = "base"
"""The layout beside the state with directories that were cut out of bases, until a push copies them to the target."""


def find_base(context: WorkspaceContext, base: Reference, top: bytes, wanted: Platform) -> tuple[Image, Reference]:
    """Return the base as an image, and the reference that its layers can be read from.

    Args:
        context: opens stores; its state directory gets the layout of cut bases.
        base: the reference of the image.
        top: the directory of the base that becomes the workspace's root; `b""` for all of it.
        wanted: the platform to choose from an index.

    Raises:
        UsageError: there is no such image, or no such directory in it.
        AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: it cannot be read.
    """
    resolved = read_image(context.open_store(base), base.digest or base.tag or "latest", wanted, str(base))
    if resolved is None:
        raise UsageError("there is no such image to start from", subject=str(base), remedy=OTHER_BASE)
    if top:
        resolved, base = _cut(context, resolved, base, top)
    return as_base(resolved), base._replace(tag=None, digest=resolved.digest)


def _cut(
    context: WorkspaceContext, resolved: ResolvedImage, base: Reference, top: bytes
) -> tuple[ResolvedImage, Reference]:
    """Return an image of one layer with the tree of `resolved` below `top`, made in a layout beside the state.

    Its bytes depend on that tree alone. So every agent that cuts it gets the same digest, which is the base's id, and
    the target gets an ordinary base.
    """
    name = sha256(f"{resolved.digest} ".encode() + top).hexdigest()
    layout = LayoutReference(os.path.join(context.state, _CUTS), name)
    store = context.open_store(layout)
    done = read_image(store, name, resolved.image.platform, str(layout))
    if done is None:
        _make(context, store, name, as_base(resolved), base, top)
        done = read_image(store, name, resolved.image.platform, str(layout))
        assert done is not None
    return done, layout


def _make(context: WorkspaceContext, store: Store, name: str, image: Image, base: Reference, top: bytes) -> None:
    layers = Layers(context.open_store(base), unite([image]), limits=context.limits)
    rows = layers.below(image.base, top) if image.base else None
    if rows is None:
        raise UsageError("the base has no such directory", subject=f"{base}, {show(top)}", remedy="name one it has")
    with Spool(context.state) as spool:
        spool.fill(layers, str(image.base), rows)

        def content(row: TreeEntry) -> Iterator[bytes]:
            return spool.read(row.offset, row.node.size)

        stored = store.upload(lambda: plain_tar((), rows, content))
    system, architecture, variant = image.platform
    config = canonical(
        {
            "architecture": architecture,
            "config": {},
            "os": system,
            "rootfs": {"diff_ids": [stored.digest], "type": "layers"},
            **({"variant": variant} if variant else {}),
        }
    )
    layer = {"digest": stored.digest, "mediaType": media_type_of("none"), "size": stored.size}
    manifest = {
        "config": {"digest": digest_of(config), "mediaType": CONFIG, "size": len(config)},
        "layers": [layer],
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    }
    store.put_blob(config)
    store.put_manifest(name, canonical(manifest), MANIFEST)
