"""Images that others wrote: built with their own tools, in layouts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fakes.contents import noise, write
from tests.interop.tools import Buildah, Umoci, make_portable

Edit = Callable[[bytes], None]


def start(top: bytes) -> None:
    make_portable(top)
    write(top, b"d/one", b"one")
    write(top, b"d/two", noise(3000))
    write(top, b"d/sub/three", b"three")
    write(top, b"opaque/old", b"old")
    write(top, b"opaque/deep/old", b"old")
    write(top, b"f", b"file")
    write(top, b"swap/in", b"in")
    write(top, b"group/1", b"linked")
    os.link(top + b"/group/1", top + b"/group/2")


def take_away(top: bytes) -> None:
    os.unlink(top + b"/d/one")
    shutil.rmtree(top + b"/d/sub")
    os.unlink(top + b"/f")
    write(top, b"f/in", b"a directory now")
    shutil.rmtree(top + b"/swap")
    os.symlink(b"d", top + b"/swap")
    shutil.rmtree(top + b"/opaque")
    write(top, b"opaque/new", b"new")
    os.chmod(top + b"/d", 0o2750)
    shutil.rmtree(top + b"/modes")


def bring_back(top: bytes) -> None:
    write(top, b"d/sub/four", b"four")
    shutil.rmtree(top + b"/f")
    write(top, b"f", b"a file again")
    os.unlink(top + b"/swap")
    write(top, b"swap/again", b"x")
    write(top, b"group/3", b"more")
    os.link(top + b"/group/3", top + b"/d/3")
    os.unlink(top + b"/names/-rf")


EDITS: list[Edit] = [start, take_away, bring_back]


def by_umoci(umoci: Umoci, layout: Path) -> None:
    """Make `layout:image` of one layer for each edit, with whiteouts as umoci writes them."""
    umoci.new(layout, "image")
    bundle = umoci.unpack(layout, "image")
    for edit in EDITS:
        edit(os.fsencode(bundle / "rootfs"))
        umoci.repack(layout, "image", bundle)


def by_umoci_insert(umoci: Umoci, layout: Path) -> None:
    """Make `layout:image` with layers that umoci inserts: opaque directories and whiteouts with nothing beside."""
    by_umoci(umoci, layout)
    place = umoci.place / "inserted"
    shutil.rmtree(place, ignore_errors=True)
    write(os.fsencode(place), b"fresh", b"all that is left")
    write(os.fsencode(place), b"sub/fresh", b"and below")
    umoci.insert(layout, "image", "--opaque", place, "/d")
    umoci.insert(layout, "image", place / "fresh", "/opaque/beside")
    umoci.insert(layout, "image", "--whiteout", "/group")


def by_buildah(buildah: Buildah, layout: Path) -> None:
    """Make `layout:image` with one commit for each edit: what overlayfs makes of it, opaque directories too."""
    source = "scratch"
    for number, edit in enumerate(EDITS):
        last = number + 1 == len(EDITS)
        with buildah.container(source) as (container, mounted):
            edit(os.fsencode(mounted))
            source = f"oci:{layout}:{'image' if last else f'step-{number}'}"
            buildah.commit(container, source)


def index_of(layout: Path, tag: str, images: dict[str, str]) -> None:
    """Add an image index under `tag` to a layout: of the images at tags, by architecture."""
    index = json.loads((layout / "index.json").read_text())
    tagged = {item["annotations"]["org.opencontainers.image.ref.name"]: item for item in index["manifests"]}
    manifests = [
        {**described(tagged[there]), "platform": {"os": "linux", "architecture": name}}
        for name, there in images.items()
    ]
    media_type = "application/vnd.oci.image.index.v1+json"
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).encode()
    digest = sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    annotations = {"org.opencontainers.image.ref.name": tag}
    index["manifests"].append(
        {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), "annotations": annotations}
    )
    (layout / "index.json").write_text(json.dumps(index))


def described(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item[key] for key in ("mediaType", "digest", "size")}
