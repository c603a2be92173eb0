"""The three encodings of a layer, and their media types (image-spec, layer.md and media-types.md).

The compression of a foreign layer is detected from its first bytes, as Docker and containerd do, since media types are
often wrong. A media type decides only whether it is a layer at all.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from agent.archive.stream import gzip, zstd
from agent.archive.stream.limits import damaged
from agent.errors import UnsupportedError

Compression: TypeAlias = Literal["zstd", "gzip", "none"]
COMPRESSIONS: Final[tuple[Compression, ...]] = get_args(Compression)

_TAR = "application/vnd.oci.image.layer.v1.tar"
_NOT_DISTRIBUTED = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_SUFFIXES: Final[dict[Compression, str]] = {"zstd": "+zstd", "gzip": "+gzip", "none": ""}
_KNOWN: Final[dict[str, Compression]] = {
    **{_TAR + suffix: name for name, suffix in _SUFFIXES.items()},
    **{_NOT_DISTRIBUTED + suffix: name for name, suffix in _SUFFIXES.items()},
    **{
        kind + suffix.replace("+", "."): name
        for kind in (_DOCKER, _DOCKER_FOREIGN)
        for name, suffix in _SUFFIXES.items()
    },
}


_LAYERS = (_TAR, _NOT_DISTRIBUTED, _DOCKER, _DOCKER_FOREIGN)
_ENCRYPTED = "+encrypted"
_XZ = b"\xfd7zXZ\0"
_BZIP2, _BZIP2_BLOCKS = b"BZh", (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
MAGIC_MAX: Final = 10
"""The number of bytes from which the compression of a layer is detected."""


def media_type_of(compression: Compression) -> str:
    """Return the media type that we write."""
    return _TAR + _SUFFIXES[compression]


def check_layer_type(media_type: str, subject: str) -> None:
    """Refuse a layer whose media type says that it holds no files that can be read.

    Raises:
        UnsupportedError: it is encrypted, or something else than a layer of files (a Helm chart, a signature).
    """
    if media_type.endswith(_ENCRYPTED):
        raise UnsupportedError(
            "its layers are encrypted",
            subject=subject,
            remedy="decrypt the image first, for example with skopeo, and name the copy",
        )
    is_generic = "/" in media_type and "/vnd." not in media_type and "json" not in media_type
    if not media_type.startswith(_LAYERS) and not is_generic:
        raise UnsupportedError(
            f"it is no image of files: one of its layers is {media_type[:120] or 'of no media type'}",
            subject=subject,
            remedy="name a container image",
        )


def compression_in(data: bytes) -> Compression:
    """Return how a layer is compressed that begins with `data`: `MAGIC_MAX` bytes of it, or all.

    Raises:
        UnsupportedError: it is compressed in another way.
    """
    if data.startswith(gzip.MAGIC):
        return "gzip"
    if data.startswith(zstd.MAGIC) or zstd.is_skippable(data[:4]):
        return "zstd"
    other = "xz" if data.startswith(_XZ) else ""
    if data.startswith(_BZIP2) and data[4:] in _BZIP2_BLOCKS:  # a name in a tar may begin with the letters alone
        other = "bzip2"
    if other:
        raise UnsupportedError(
            f"it is compressed by {other}, which is not read here",
            subject="layer",
            remedy="copy the image with its layers compressed by gzip, for example with skopeo",
        )
    return "none"


def compression_of(media_type: str) -> Compression:
    """Return how a layer of ours with `media_type` is compressed.

    Raises:
        IntegrityError: it is no layer's media type.
    """
    try:
        return _KNOWN[media_type]
    except KeyError:
        raise damaged("no media type of a layer that can be read", media_type[:120]) from None
