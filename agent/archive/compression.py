"""The three encodings of a layer, and their media types (image-spec, layer.md and media-types.md)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from agent.archive.limits import damaged

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


def media_type_of(compression: Compression) -> str:
    """Return the media type that we write."""
    return _TAR + _SUFFIXES[compression]


def compression_of(media_type: str) -> Compression:
    """Return how a layer of `media_type` is compressed.

    Raises:
        IntegrityError: it is no layer's media type.
    """
    try:
        return _KNOWN[media_type]
    except KeyError:
        raise damaged("no media type of a layer that can be read", media_type[:120]) from None
