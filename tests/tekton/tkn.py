"""A bundle as `tkn bundle push` writes it (tektoncd/cli, pkg/bundle/builder.go, with go-containerregistry's image).

The tars, configuration and manifest are those of Go; of the gzip the header is, while what its deflate makes of the
same bytes is not to be had without it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from agent.store.port import Store

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_BEGINNING = "0001-01-01T00:00:00Z"  # Go's zero time


@dataclass(frozen=True)
class Image:
    manifest: bytes
    blobs: tuple[bytes, ...]
    media_type: str = DOCKER

    def push(self, store: Store, tag: str) -> str:
        for blob in self.blobs:
            store.put_blob(blob)
        return store.put_manifest(tag, self.manifest, self.media_type)


def tar(name: str, data: bytes) -> bytes:
    """`tar.Writer.WriteHeader` of a regular file with mode 0600 and nothing else, its content, `Close`."""
    header = bytearray(512)
    header[0 : len(name)] = name.encode()
    for start, text in (
        (100, b"0000600\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % len(data)),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, b"0"),
        (257, b"ustar\0" + b"00"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ):
        header[start : start + len(text)] = text
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512) + bytes(1024)


def gzip(data: bytes) -> bytes:
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\x04\xff" + body + struct.pack("<II", zlib.crc32(data), len(data))


def bundle(*objects: dict[str, Any], layers: tuple[bytes, ...] = (), full: bool = False) -> Image:
    """
    Args:
        layers: other bytes for the first layers.
        full: with the group in the apiVersion's annotation, as other writers have it.
    """
    tars = [tar(found["metadata"]["name"], json.dumps(found, sort_keys=True).encode()) for found in objects]
    blobs = [*layers, *map(gzip, tars[len(layers) :])]
    config = json.dumps(
        {
            "architecture": "",
            "created": _BEGINNING,
            "history": [{"created": _BEGINNING} for _ in objects],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [_digest(found) for found in tars]},
            "config": {},
        },
        separators=(",", ":"),
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": _digest(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(blob),
                "digest": _digest(blob),
                "annotations": {
                    "dev.tekton.image.apiVersion": found["apiVersion"]
                    if full
                    else found["apiVersion"].rpartition("/")[2],
                    "dev.tekton.image.kind": found["kind"].lower(),
                    "dev.tekton.image.name": found["metadata"]["name"],
                },
            }
            for found, blob in zip(objects, blobs, strict=True)
        ],
    }
    return Image(json.dumps(manifest, separators=(",", ":")).encode(), (*blobs, config))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
