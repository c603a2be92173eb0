"""What a workspace starts from: any image, or one directory of it (docs/decisions/base-path.md)."""

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
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.layers import Layers
from agent.sync.remote.located_image import Located, as_base, read_image
from agent.sync.remote.spool import Spool

_CUTS = "base"
"""The layout, beside the state, that holds directories cut out of bases until a push brings them to the target."""


def find_base(site: Site, base: Reference, top: bytes, wanted: Platform) -> tuple[Image, Reference]:
    """Return the image that a workspace starts from, and the reference that its layers can be read from.

    Args:
        top: the directory of the base that becomes the workspace's root; `b""` for all of it.
        wanted: what to choose from an index.

    Raises:
        UsageError: there is no such image, or no such directory in it.
        AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: it cannot be had.
    """
    located = read_image(site.open_store(base), base.digest or base.tag or "latest", wanted, str(base))
    if located is None:
        raise UsageError("there is no such image to start from", subject=str(base), remedy=OTHER_BASE)
    if top:
        located, base = _cut(site, located, base, top)
    return as_base(located), base._replace(tag=None, digest=located.digest)


def _cut(site: Site, located: Located, base: Reference, top: bytes) -> tuple[Located, Reference]:
    """Return an image of one layer with what `located` has below `top`, made in a layout beside the state.

    Its bytes follow from what is there alone, so that everyone who cuts the same gets the same digest, which is the
    base's id, and the target gets an ordinary base.
    """
    name = sha256(f"{located.digest} ".encode() + top).hexdigest()
    layout = LayoutReference(os.path.join(site.state, _CUTS), name)
    store = site.open_store(layout)
    done = read_image(store, name, located.image.platform, str(layout))
    if done is None:
        _make(site, store, name, as_base(located), base, top)
        done = read_image(store, name, located.image.platform, str(layout))
        assert done is not None
    return done, layout


def _make(site: Site, store: Store, name: str, image: Image, base: Reference, top: bytes) -> None:
    layers = Layers(site.open_store(base), unite([image]), limits=site.limits)
    rows = layers.below(image.base, top) if image.base else None
    if rows is None:
        raise UsageError("the base has no such directory", subject=f"{base}, {show(top)}", remedy="name one it has")
    with Spool(site.state) as spool:
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
