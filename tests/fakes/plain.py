"""Images as any tool sees them: layers applied in order with the standard library alone; images of others, made so."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zstandard

from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.spelling.digest import Digest
from agent.store.port import Store

Plain = dict[str, tuple[Any, ...]]
_SPECIAL = {tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}


def unpacked(data: bytes) -> bytes:
    """Return a layer's tar."""
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    return data


def applied(store: Store, reference: str) -> Plain:
    """Return what plain application of an image's layers gives: path -> (type, mode, content or link target)."""
    manifest = store.get_manifest(reference)
    assert manifest is not None
    tree: Plain = {}
    for layer in json.loads(manifest.data)["layers"]:
        data = unpacked(b"".join(store.read_blob(Digest(layer["digest"]))))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                _apply(tree, tar, member)
    return tree


def _apply(tree: Plain, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    above, _, name = member.name.rpartition("/")
    if name == ".wh..wh..opq":
        _remove(tree, above, at=False)
        return
    if name.startswith(".wh."):
        gone = f"{above}/{name[4:]}".lstrip("/")
        _remove(tree, gone)
        return
    if not member.isdir() or (member.name in tree and tree[member.name][0] != "dir"):
        _remove(tree, member.name)
    if member.isdir():
        tree[member.name] = ("dir", member.mode, None)
    elif member.issym():
        tree[member.name] = ("link", 0o777, member.linkname)
    elif member.islnk():
        tree[member.name] = tree[member.linkname]
    elif member.isfile():
        file = tar.extractfile(member)
        assert file is not None
        tree[member.name] = ("file", member.mode, file.read())
    else:
        tree[member.name] = (_SPECIAL[member.type], member.mode, None)


def _remove(tree: Plain, path: str, *, at: bool = True) -> None:
    for there in [there for there in tree if (at and there == path) or there.startswith(path + "/")]:
        del tree[there]


def on_disk(top: bytes) -> Plain:
    """Return the same of a directory."""
    tree: Plain = {}
    for directory, directories, files in os.walk(os.fsdecode(top)):
        for name in (*directories, *files):
            place = os.path.join(directory, name)
            path = os.path.relpath(place, os.fsdecode(top))
            mode = os.lstat(place).st_mode
            if stat.S_ISLNK(mode):
                tree[path] = ("link", 0o777, os.readlink(place))
            elif stat.S_ISDIR(mode):
                tree[path] = ("dir", stat.S_IMODE(mode), None)
            elif stat.S_ISFIFO(mode):
                tree[path] = ("fifo", stat.S_IMODE(mode), None)
            else:
                with open(place, "rb") as file:
                    tree[path] = ("file", stat.S_IMODE(mode), file.read())
    return tree


def put_image(
    store: Store,
    tag: str,
    layers: Sequence[Mapping[str, bytes | None] | bytes],
    *,
    on: str | None = None,
    compress: bool = True,
    pack: Callable[[bytes], bytes] | None = None,
    kind: str | None = None,
    **extra: Any,
) -> str:
    """Put an image as other tools make it; a name ending in `/` is a directory. Return its manifest's digest.

    Args:
        layers: their tars, or the names in them with their contents.
        on: the tag of an image that these layers are put on top of.
        pack: makes a blob of a tar, whatever `compress` says.
        kind: the layers' media type, whether it is true or not.
        extra: goes into the config.
    """
    manifest, config = _read(store, on) if on else ({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}, {})
    rootfs = config.get("rootfs", {"type": "layers", "diff_ids": []})
    for layer in layers:
        tar = layer if isinstance(layer, bytes) else _tar(layer)
        data = pack(tar) if pack else gzip.compress(tar, mtime=0) if compress else tar
        rootfs["diff_ids"].append("sha256:" + hashlib.sha256(tar).hexdigest())
        named = kind or "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
        manifest["layers"].append({"mediaType": named, "digest": store.put_blob(data), "size": len(data)})
    raw = json.dumps({"os": "linux", "architecture": "amd64", **config, "rootfs": rootfs, **extra}).encode()
    manifest["config"] = {"mediaType": CONFIG, "digest": store.put_blob(raw), "size": len(raw)}
    return store.put_manifest(tag, json.dumps(manifest).encode(), MANIFEST)


def _read(store: Store, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = store.get_manifest(tag)
    assert found is not None
    manifest = json.loads(found.data)
    return manifest, json.loads(b"".join(store.read_blob(Digest(manifest["config"]["digest"]))))


def _tar(names: Mapping[str, bytes | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in names.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mtime = 1_600_000_000
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
    return out.getvalue()
