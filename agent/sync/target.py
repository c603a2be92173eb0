"""Reading what a target's repository holds: head, entries, pointers, and foreign images as bases."""

from __future__ import annotations

import platform as machine
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agent.core.digest import Digest, digest_of, parse_digest
from agent.core.image import Image, Layer, Platform
from agent.core.manifest import (
    DOCKER_LIST,
    INDEX,
    choose_platform,
    damaged,
    load_json,
    needs_config,
    parse_image,
)
from agent.core.record import Record
from agent.core.reference import Reference
from agent.core.tags import (
    check_target_tag,
    checkpoint_ids,
    checkpoint_tag,
    derived_prefix,
    entry_ids,
    entry_tag,
    pointer_tag,
)
from agent.core.union import Union, unite
from agent.errors import IntegrityError, UsageError
from agent.store.port import Manifest, Store
from agent.sync.layers import Layers

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
CONFIG_MAX = 8 << 20
LISTS = 4
"""How often the list is read if what it names is gone when it is asked for."""


@dataclass(frozen=True, slots=True)
class Located:
    """An image, and the manifest it was read from."""

    image: Image
    digest: Digest


def this_platform(wanted: str | None) -> Platform:
    """Return the platform that `wanted` (os/architecture[/variant]) names, this machine's where it names none."""
    if wanted:
        parts = [*wanted.split("/"), "", ""]
        return parts[0], parts[1], parts[2]
    return "linux", _MACHINES.get(machine.machine(), machine.machine()), ""


def read_image(store: Store, reference: str, wanted: Platform, subject: str) -> Located | None:
    """Return the image at a tag or digest; of an index, the manifest for a platform. None if there is none.

    Raises:
        IntegrityError: what is there is no image.
        AuthError, UnavailableError: see `agent.errors`.
    """
    manifest = store.get_manifest(reference)
    if manifest is None:
        return None
    value = load_json(manifest.data, subject)
    if "manifests" in value and "layers" not in value and manifest.media_type in (INDEX, DOCKER_LIST):
        manifest = _must_exist(store.get_manifest(choose_platform(value, wanted, subject)), subject)
        value = load_json(manifest.data, subject)
    config = None
    if needs_config(value):
        config = load_json(_read_config(store, value, subject), subject)
    return Located(parse_image(value, config, subject), manifest.digest)


def _must_exist(manifest: Manifest | None, subject: str) -> Manifest:
    if manifest is None:
        raise damaged(subject, "is an index that names a manifest which is not there")
    return manifest


def _read_config(store: Store, manifest: dict[str, object], subject: str) -> bytes:
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(digest, str):
        raise damaged(subject, "is no image manifest")
    size = config.get("size")
    if type(size) is not int or not 0 <= size <= CONFIG_MAX:
        raise damaged(subject, f"has a config of more than {CONFIG_MAX >> 20} MiB, or of no size")
    return read_small_blob(store, parse_digest(digest), size)


def read_small_blob(store: Store, digest: Digest, size: int) -> bytes:
    """Return a whole blob, checked against its digest.

    Raises:
        IntegrityError: it has another digest or size.
    """
    data = b"".join(store.read_blob(digest, 0, size))
    if digest_of(data) != digest:
        raise IntegrityError(
            "a blob has another digest than its name", subject=str(digest), remedy="the registry's storage is damaged"
        )
    return data


def as_base(located: Located) -> Image:
    """Return what a workspace starts from: the layers of any image, as one change with the manifest's digest for id.

    Raises:
        IntegrityError: a layer has a media type that cannot be read.
    """
    base = str(located.digest)
    layers = tuple(
        Layer(_oci_type(layer), layer.digest, layer.size, layer.diff_id, "base", base=base)
        for layer in located.image.layers
    )
    return Image(layers=layers, target="", platform=located.image.platform)


def _oci_type(layer: Layer) -> str:
    return _OCI_TYPES.get(layer.media_type, layer.media_type)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a target found.

    Attributes:
        head: the image at the target's tag.
        entries: images that hold changes which head lacks, and checkpoints.
        pointers: what each lane that was asked for points at; None for one that published nothing.
        is_encoded_anew: head is a copy whose layers lost their tables of contents: what they hold can be read, who
            changed it can not.
    """

    head: Located | None
    entries: tuple[Located, ...] = ()
    pointers: dict[str, Located | None] = field(default_factory=dict)
    is_encoded_anew: bool = False

    @property
    def union(self) -> Union:
        """All changes that were found. A head of someone else, where there is nothing of ours, is the base."""
        others = self.others
        if self.head is None:
            return unite(others)
        if self.is_ours:
            return unite([self.head.image, *others])
        return unite(others or [as_base(self.head)])

    @property
    def others(self) -> list[Image]:
        """The images of entries and pointers."""
        return [located.image for located in (*self.entries, *self.pointers.values()) if located]

    @property
    def is_ours(self) -> bool:
        """Whether head is a workspace that this program keeps."""
        return self.head is not None and all(layer.kind != "foreign" for layer in self.head.image.layers)


class Target:
    """The repository of one target, read. Nothing here writes."""

    def __init__(self, store: Store, reference: Reference, wanted: Platform) -> None:
        self.store = store
        self.tag = check_target_tag(reference.tag or "latest")
        self.digest = reference.digest
        self.name = str(reference)
        self._wanted = wanted
        self._checkpoints: dict[str, Located] = {}
        self._strange: set[str] = set()

    def head(self) -> Located | None:
        """Return the image at the target's own tag (or digest, if it names one), None if there is none."""
        return self.image(self.digest or self.tag)

    def image(self, reference: str) -> Located | None:
        """Return the image at a tag or digest of the repository, None if there is none."""
        return read_image(self.store, reference, self._wanted, f"{self.name} ({reference})")

    def entry(self, record: Record) -> Located | None:
        """Return the entry of a change, None if there is none.

        Raises:
            IntegrityError: something else stands at its tag.
        """
        tag = entry_tag(record.target, record.lane, record.id)
        located = self.image(tag)
        if located and record.id not in located.image.records:
            raise damaged(f"{self.name} ({tag})", "is not the entry that its tag promises")
        return located

    def pointer(self, lane: str) -> Located | None:
        """Return what a lane's newest attempt published, None if it published nothing.

        Found by name, without the listing: an attempt leaves no gap below its own number (see `publish_entry`).
        """
        found, attempt = self.image(pointer_tag(self.tag, lane, 0)), 0
        newest = found or self.image(pointer_tag(self.tag, lane, None))
        while found:
            newest, attempt = found, attempt + 1
            found = self.image(pointer_tag(self.tag, lane, attempt))
        if newest and (newest.image.lane, newest.image.target) != (lane, self.tag):
            raise damaged(f"{self.name}, lane {lane}", "has a pointer that belongs to another lane")
        return newest

    def look(self, after: Iterable[str] = ()) -> Seen:
        """Read head, the pointers of lanes, the list of entries, and the entries that those lack."""
        head = self.head()
        pointers = {lane: self.pointer(lane) for lane in after}
        seen = Seen(head, (), pointers)
        if self.digest:
            return self._judged(seen)  # An image that cannot move has no entries beside it.
        return self._judged(replace(seen, entries=self._listed(seen)))

    def _listed(self, seen: Seen) -> tuple[Located, ...]:
        """Read the list, and of what it names that which `seen` lacks.

        What is listed and then gone may have been pruned between: the checkpoint that holds it was there before, so
        another list has it.
        """
        for _ in range(LISTS):
            tags = self.store.tags(derived_prefix(self.tag))
            held = {change[:26] for change in _readable(seen.union)}
            # Newest first would be best, but a tag says no age: read what is lacking until nothing is.
            entries: list[Located] = []
            is_whole = True
            for short, tag in (
                *sorted(checkpoint_ids(self.tag, tags).items()),
                *sorted(entry_ids(self.tag, tags).items()),
            ):
                if short in held:
                    continue
                located = self._named(tag, short)
                is_whole = is_whole and (located is not None or tag in self._strange)
                if located is not None:
                    entries.append(located)
                    held.update(change[:26] for change in located.image.records)
            if is_whole:
                break
        return tuple(entries)

    def _named(self, tag: str, short: str) -> Located | None:
        """Return the entry or checkpoint at a tag that is written once; None if it is gone, or something else."""
        if tag in self._strange:
            return None
        located = self._checkpoints.get(tag) or self.image(tag)
        if located is None:
            return None
        if located.image.target != self.tag or (located.image.change or "")[:26] != short:
            self._strange.add(tag)
            return None
        if tag == checkpoint_tag(self.tag, located.image.change or ""):
            self._checkpoints[tag] = located
        return located

    def forget(self) -> None:
        """Forget what was read, so that it is read again."""
        self._checkpoints.clear()

    def tags(self) -> list[str]:
        """Return the tags that may be derived from this target's."""
        return self.store.tags(derived_prefix(self.tag))

    def _judged(self, seen: Seen) -> Seen:
        """Return what was seen, head as an image of someone else if it is a copy that a tool encoded anew."""
        if seen.head is None or not seen.is_ours:
            return seen
        layers = Layers(self.store, seen.union)
        unsure = [layer for layer in seen.union.order if layer.encoding is None]
        if all(map(layers.has_toc, unsure)):
            return seen
        foreign = tuple(replace(layer, kind="foreign", record=None, base=None) for layer in seen.head.image.layers)
        image = replace(seen.head.image, layers=foreign, dropped=())
        return replace(seen, head=replace(seen.head, image=image), is_encoded_anew=True)

    def complete(self, union: Union) -> Union:
        """Return a part of what was seen, with every layer that it needs.

        An image drops the layers of superseded changes; without the later attempt they are not superseded.

        Raises:
            IntegrityError: the entry that has such a layer is gone.
        """
        asked: set[str] = set()
        while lost := (union.dropped.keys() - union.superseded if union.dropped else set()):
            # The newest first: its entry has what lies below it, too.
            record = max((union.dropped[change] for change in lost), key=lambda record: record.version)
            entry = None if record.id in asked else self.entry(record)
            if entry is None:
                raise damaged(
                    f"{self.name}, change {record.id}", "lost its entry, and no other image has its layer alone"
                )
            asked.add(record.id)
            union = unite([union.image(self.tag), entry.image]).only(union.ids)
        return union


def _readable(union: Union) -> set[str]:
    """Return the ids of what need not be looked for elsewhere: a layer that a tool encoded anew may lack its table."""
    lost = {change for change, layer in union.changes.items() if layer.encoding is None}
    for layer in union.squashes.values():
        if layer.squash and layer.encoding is None:
            lost |= layer.squash.ids
    return union.ids - lost


def resolve(union: Union, prefix: str, name: str) -> str:
    """Return the id of the one change whose id starts with `prefix`.

    Raises:
        UsageError: there is none, or there are several.
    """
    fitting = sorted(change for change in union.ids if change.startswith(prefix))
    if len(fitting) != 1:
        what = "no change has this id" if not fitting else f"{len(fitting)} changes have ids that start so"
        raise UsageError(what, subject=f"{name}, change {prefix}", remedy="see the ids with: agent log")
    return fitting[0]
