"""Reading what a target's repository holds: head, entries, pointers, and foreign images as bases."""

from __future__ import annotations

import platform as machine
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agent.core.digest import Digest, digest_of, parse_digest
from agent.core.foreign import absorb
from agent.core.image import Image, Layer, Platform
from agent.core.manifest import (
    DOCKER_LIST,
    INDEX,
    EditedError,
    choose_platform,
    damaged,
    load_json,
    needs_config,
    parse_image,
    without_claims,
)
from agent.core.record import Record
from agent.core.reference import Reference
from agent.core.tags import check_target_tag, derived_prefix, entry_ids, entry_tag, pointer_tag
from agent.core.union import Union, unite
from agent.errors import IntegrityError, UsageError
from agent.store.port import Manifest, Store

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
CONFIG_MAX = 8 << 20


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
    try:
        image = parse_image(value, config, subject)
    except EditedError:
        config = config or load_json(_read_config(store, value, subject), subject)
        image = parse_image(without_claims(value), config, subject)
    return Located(image, manifest.digest)


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
        Layer(layer.media_type, layer.digest, layer.size, layer.diff_id, "base", base=base)
        for layer in located.image.layers
    )
    return Image(layers=layers, target="", platform=located.image.platform)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a target found.

    Attributes:
        head: the image at the target's tag.
        entries: images that hold changes which head lacks.
        pointers: what each lane that was asked for points at; None for one that published nothing.
        tag: the target's.
        adopted: images of entries that were made since, of what someone else put on top of ours.
    """

    head: Located | None
    entries: tuple[Located, ...] = ()
    pointers: dict[str, Located | None] = field(default_factory=dict)
    tag: str = ""
    adopted: tuple[Image, ...] = ()

    @property
    def union(self) -> Union:
        """All changes that were found. A head of someone else, where there is nothing of ours, is the base."""
        others = self.others
        if self.head is None:
            return unite(others)
        known = self.known_head
        if known is not None:
            return unite([known, *others])
        return unite(others or [as_base(self.head)])

    @property
    def known_head(self) -> Image | None:
        """Head, layers that someone else put on top of ours as changes; None if there is none, or nothing of ours."""
        if self.head is None or self.is_ours:
            return self.head.image if self.head else None
        return absorb(self.head.image, self.others, self.tag)

    @property
    def others(self) -> list[Image]:
        """The images of entries and pointers."""
        return [*(located.image for located in (*self.entries, *self.pointers.values()) if located), *self.adopted]

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
        seen = Seen(head, (), pointers, self.tag)
        if self.digest:
            return seen  # An image that cannot move has no entries beside it.
        tags = self.store.tags(derived_prefix(self.tag))
        held = {change[:26] for change in _readable(seen.union)}
        # Newest first would be best, but a tag says no age: read what is lacking until nothing is.
        entries: list[Located] = []
        for short, tag in sorted(entry_ids(self.tag, tags).items()):
            if short in held:
                continue
            located = self.image(tag)
            if located is None or located.image.target != self.tag or (located.image.change or "")[:26] != short:
                continue  # Not ours; or a listing is ahead of what it lists, or tells of what was pruned since.
            entries.append(located)
            held.update(change[:26] for change in located.image.records)
        return replace(seen, entries=tuple(entries))

    def complete(self, union: Union) -> Union:
        """Return a part of what was seen, with every layer that it needs.

        An image drops the layers of superseded changes; without the later attempt they are not superseded.

        Raises:
            IntegrityError: the entry that has such a layer is gone.
        """
        lost = union.dropped.keys() - union.superseded if union.dropped else set()
        if not lost:
            return union
        entries = {change: self.entry(union.dropped[change]) for change in sorted(lost)}
        for change, entry in entries.items():
            if entry is None:
                raise damaged(f"{self.name}, change {change}", "lost its entry, and no other image has its layer")
        images = [entry.image for entry in entries.values() if entry]
        return self.complete(unite([union.image(self.tag), *images]).only(union.ids))


def _readable(union: Union) -> set[str]:
    """Return the ids of what need not be looked for elsewhere: a layer that a tool encoded anew may lack its table."""
    return union.ids - {change for change, layer in union.changes.items() if layer.encoding is None}


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
