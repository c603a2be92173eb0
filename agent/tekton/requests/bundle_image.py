"""A Tekton bundle: an OCI image with one layer for each object (tektoncd/pipeline, docs/tekton-bundle-contracts.md).

Annotations on a layer name the object in it. The contract requires group and version in the annotation of the
apiVersion. `tkn bundle push` writes only the version. So readers must accept both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.archive.stream import gzip
from agent.archive.stream.compression import media_type_of
from agent.archive.stream.decode import Decoder
from agent.archive.stream.limits import ArchiveLimits
from agent.archive.tar.header_decoder import check_sum
from agent.archive.tar.tar_header import BLOCK, END, encode_header, padded
from agent.archive.tar.tar_reader import read_tar
from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Placed
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest, digest_of, parse_digest
from agent.errors import IntegrityError, NotInBundleError, UsageError
from agent.tekton.model.documents import read
from agent.tekton.model.fields import Object, mapping, text

MAX_OBJECTS = 20
"""Objects in one bundle: Tekton refuses more."""

NAME = "dev.tekton.image.name"
KIND = "dev.tekton.image.kind"
API_VERSION = "dev.tekton.image.apiVersion"

GROUP = "tekton.dev"
RUNS = frozenset(("PipelineRun", "TaskRun", "CustomRun", "Run"))
LARGEST = 4 << 20
"""Bytes of a layer, before and after decompression. Kubernetes stores less for one object."""

_LIMITS = ArchiveLimits(expanded=LARGEST, entries=100, frame=LARGEST)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Member:
    """An object in a bundle: the annotations of its layer, and the layer's digest and size."""

    kind: str
    name: str
    api_version: str
    digest: Digest
    size: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle as bytes: layers, configuration and manifest."""

    layers: tuple[bytes, ...]
    config: bytes
    manifest: bytes


def belongs_in_bundle(document: Object) -> bool:
    """Return whether an object belongs in a bundle: it is Tekton's, and not a run."""
    group = str(document.get("apiVersion")).partition("/")[0]
    return group == GROUP and document.get("kind") not in RUNS


def pack(objects: Sequence[Object]) -> Packed:
    """Return a bundle. The same objects in any order give the same bytes.

    Raises:
        UsageError: there are no objects, or more than `MAX_OBJECTS`; one has no name, or two have one kind and name.
    """
    if not objects:
        raise UsageError("there is nothing to put in", subject="bundle", remedy="give files with Tasks or Pipelines")
    if len(objects) > MAX_OBJECTS:
        raise UsageError(
            f"{len(objects)} objects, and Tekton reads no more than {MAX_OBJECTS} from one",
            subject="bundle",
            remedy="make several, and refer from one to the other by the resolver bundles",
        )
    labelled: dict[tuple[str, str], Object] = {}
    for value in objects:
        label = _label(value)
        if label in labelled:
            raise UsageError(
                "two of the objects have this kind and name, and only one could be found",
                subject="/".join(label),
                remedy="leave one out",
            )
        labelled[label] = value
    tars = [_tar(value, name) for (_, name), value in sorted(labelled.items())]
    return _image(labelled, tars)


def _image(labelled: Mapping[tuple[str, str], Object], tars: Sequence[bytes]) -> Packed:
    """Return the image of objects by kind and name. `tars` holds one tar for each, in that order."""
    layers = tuple(map(gzip.pack_stored, tars))
    config = canonical(
        {
            "architecture": "amd64",
            "config": {},
            "os": "linux",
            "rootfs": {"diff_ids": [digest_of(tar) for tar in tars], "type": "layers"},
        }
    )
    descriptors = [
        {
            "annotations": {NAME: name, KIND: kind, API_VERSION: value["apiVersion"]},
            "digest": digest_of(layer),
            "mediaType": media_type_of("gzip"),
            "size": len(layer),
        }
        for ((kind, name), value), layer in zip(sorted(labelled.items()), layers, strict=True)
    ]
    manifest = canonical(
        {
            "config": {"digest": digest_of(config), "mediaType": CONFIG, "size": len(config)},
            "layers": descriptors,
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }
    )
    return Packed(layers, config, manifest)


def parse_members(manifest: Mapping[str, Any], subject: str) -> tuple[Member, ...]:
    """Return the objects of a bundle, in its order, by the rules of Tekton's resolver.

    Args:
        manifest: an image manifest of OCI or Docker.
        subject: the bundle's name, for errors.

    Raises:
        IntegrityError: the image is not a bundle.
    """
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise _no_bundle(subject, "it has no layers")
    if len(layers) > MAX_OBJECTS:
        raise _no_bundle(subject, f"it has {len(layers)} layers, and Tekton reads no more than {MAX_OBJECTS}")
    return tuple(_member(layer, index, subject) for index, layer in enumerate(layers))


def find(members: Sequence[Member], kind: str, name: str, subject: str) -> Member:
    """Return the member that Tekton uses: the first of this kind and name, of any version.

    Args:
        kind: in upper or lower case; empty for any kind.
        subject: the bundle's name, for errors.

    Raises:
        NotInBundleError: the bundle does not have it; the message lists its objects.
        UsageError: `kind` is empty, and several kinds have the name.
    """
    found = [member for member in members if member.name == name and kind.lower() in ("", member.kind)]
    if not kind and len({member.kind for member in found}) > 1:
        kinds = " and ".join(sorted(member.kind for member in found))
        raise UsageError(f"it is {kinds}", subject=f"{subject}, {name}", remedy="say which kind")
    if found:
        return found[0]
    listed = ", ".join(map(str, members)) or "nothing"
    raise NotInBundleError(
        f"it has no {kind.lower() or 'object'} {name}",
        subject=f"bundle {subject}",
        remedy=f"name what it has ({listed}), or push it again with the object in it",
    )


def unpack(layer: bytes, member: Member, subject: str) -> dict[str, Any]:
    """Return the object in a layer: the first file of a tar, or the whole layer; gzip, zstd or uncompressed.

    Raises:
        IntegrityError: the layer is damaged, or is not one object of the member's kind.
        UnsafeArchiveError: the layer expands beyond `LARGEST`, or has a path outside of its root.
    """
    where = f"bundle {subject}, {member}"
    try:
        data = b"".join(Decoder([layer], _LIMITS).pieces())
        content = (_first_file(data, where) if _is_tar(data) else data).decode()
        documents = read(content, where)
    except UnicodeDecodeError as error:
        raise _no_bundle(where, "it is not UTF-8") from error
    except UsageError as error:
        raise _no_bundle(where, error.what) from error
    if len(documents) != 1 or str(documents[0].get("kind")).lower() != member.kind:
        raise _no_bundle(where, f"its layer is something else than a {member.kind}")
    return documents[0]


def _label(value: Object) -> tuple[str, str]:
    kind = text(value, "kind", "object").lower()
    name = text(mapping(value, "metadata", kind), "name", kind)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name} is no name of Kubernetes" if name else "it has no name",
            subject=kind or "object",
            remedy="give it a metadata.name, as objects in a bundle are found by it",
        )
    if not kind or kind.endswith("s"):
        raise UsageError("Tekton takes no such kind", subject=f"{kind}/{name}", remedy="leave it out")
    return kind, name


def _tar(value: Object, name: str) -> bytes:
    try:
        data = canonical(value)
    except ValueError as error:
        raise UsageError("it cannot be written as JSON", subject=name, remedy="mend its numbers and texts") from error
    header = encode_header(name.encode(), Node(Kind.FILE, 0o644, size=len(data)))
    return b"".join((header, data, bytes(padded(len(data)) - len(data)), END))


def _member(layer: Mapping[str, Any], index: int, subject: str) -> Member:
    annotations = layer.get("annotations")
    labels = annotations if isinstance(annotations, dict) else {}
    for key in (API_VERSION, NAME, KIND):
        if not isinstance(labels.get(key), str):
            raise _no_bundle(subject, f"its layer {index} has no annotation {key}")
    kind, version = labels[KIND], labels[API_VERSION]
    if kind != kind.lower() or kind.endswith("s"):
        raise _no_bundle(subject, f"the kind of its layer {index} is {kind}, not lower case and singular")
    size = layer.get("size")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise _no_bundle(subject, f"its layer {index} has more than {LARGEST >> 20} MiB, or no size")
    api_version = version if "/" in version else f"{GROUP}/{version}"
    return Member(kind, labels[NAME], api_version, parse_digest(layer.get("digest")), size)


def _is_tar(data: bytes) -> bool:
    if len(data) < BLOCK:
        return False
    try:
        check_sum(data[:BLOCK])
    except IntegrityError:
        return False
    return True


def _first_file(tar: bytes, where: str) -> bytes:
    for item, content in read_tar([tar], _LIMITS, end_required=False):
        if isinstance(item, Placed) and item.node.kind is Kind.FILE:
            return b"".join(content)
    raise _no_bundle(where, "its layer holds no file")


def _no_bundle(subject: str, what: str) -> IntegrityError:
    return IntegrityError(what, subject=subject, remedy="name an image that agent or tkn bundle push made")
