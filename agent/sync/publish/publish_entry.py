"""A push's own bytes: the layer in one streamed pass, then config, entry and pointer.

How pointers are numbered, and what the mark is for: docs/decisions/numbered-pointers.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from agent.archive.layer.writer import LayerWriter, PackedLayer
from agent.archive.toc.toc_rules import InTar
from agent.core.directory.scan_diff import ChangeEntries
from agent.core.directory.state_row import Fingerprint, ScannedPath, StateRow
from agent.core.image.image import Image
from agent.core.image.manifest import MANIFEST
from agent.core.image.manifest_writer import format_image
from agent.core.layers.whiteouts import whiteouts
from agent.core.model.entry import Context, Node, TocEntry, Write, new_tuple
from agent.core.model.pointer_numbers import Place, first_missing, place_of, places
from agent.core.model.record import NUMBER_MAX, Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.duration import format_duration
from agent.core.spelling.tags import entry_tag, mark_tag, pointer_tag
from agent.errors import MissingBlobError, TagRefusedError, UnavailableError, UsageError
from agent.store.port import Store, Stored
from agent.sync.local.scan_directory import Survey
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.target import Target
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.examine import open_content
from agent.workspace.state.row_buffer import Spill
from agent.workspace.state.rows import ROWS

LINK_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds, more or less, between tries to put a manifest whose blobs the registry does not find."""
SHOWN_PAUSE, SHOWN_PAUSE_MAX = 0.05, 2.0
"""Seconds between looks for what was put; doubled each time."""
BUFFERED = 4 << 20
"""Layers up to this size are held in memory, so that they can be checked for existence and sent again."""
SMALL = 16 << 20
"""Bytes of content up to which a layer is compressed thoroughly: a tenth less to move, for a few milliseconds."""
MARK = "mark"
"""What the mark's manifest says instead of a change's id."""
THOROUGH: dict[Compression, int] = {"zstd": 6, "gzip": 6}


class Packing:
    """One layer on its way: read, packed and uploaded in one pass.

    Args:
        entries: what it holds, in the tar the whiteouts that are marked (`mark_whiteouts`).

    Attributes:
        written: a row for each write, as it was packed last.
    """

    def __init__(self, site: Site, root: Root, look: Survey, entries: ChangeEntries, compression: Compression) -> None:
        self._site = site
        self._root = root
        self._entries = entries
        self._compression: Compression = compression
        self._prints = {
            old.path: found.fingerprint for old, found in (*look.sifted.suspects, *look.sifted.context.values())
        }
        self._size = look.size + sum(_size(entry) for entry in entries.rest if entry.path in self._prints)
        self.written = Spill(site.state, ROWS)
        self._advanced = 0

    def upload(self, store: Store) -> tuple[PackedLayer, Stored]:
        """Pack the layer and store it.

        Raises:
            FileChangedError: a file changed while it was read.
        """
        self._site.progress.stage("read and upload", self._size, "bytes")
        self._advanced = 0
        writer = self._writer()
        chunks = iter(writer)
        head, length = [], 0
        for chunk in chunks:
            head.append(chunk)
            length += len(chunk)
            if length > BUFFERED:
                break
        else:
            data = b"".join(head)
            return writer.result, Stored(store.put_blob(data, new=True), len(data))
        started = [(writer, chain(head, chunks))]
        del head

        def content() -> Iterator[bytes]:
            nonlocal writer
            if started:
                writer, stream = started.pop()
                return stream
            writer = self._writer()
            return iter(writer)

        stored = store.upload(content)
        return writer.result, stored

    def _writer(self) -> LayerWriter:
        root, progress, prints = self._root, self._site.progress, self._prints
        self.written = Spill(self._site.state, ROWS)
        # An upload that breaks begins again from its start, and so does what is shown of it.
        progress.advance(-self._advanced)
        self._advanced = 0
        put = self.written.append
        stands: Fingerprint | None = None

        def entries() -> Iterator[TocEntry]:
            # The writer takes an entry when it is done with the one before.
            nonlocal stands
            for entry, row in self._entries.with_rows():
                stands = row[3] if row is not None else prints.get(entry[0])
                yield entry

        def contents(entry: InTar) -> tuple[Node, bytes | Iterator[bytes]]:
            assert stands is not None
            size = stands.size
            xattrs, data = open_content(root, new_tuple(ScannedPath, (entry.path, stands, 1, (0, 0))))
            # The survey decided what to record of it; of a new file only the content and its attributes were unread.
            kind, mode, uid, gid, mtime, _, _, target, device, recorded = entry.node
            progress.advance(size)
            self._advanced += size
            return new_tuple(Node, (kind, mode, uid, gid, mtime, size, b"", target, device, recorded or xattrs)), data

        def written(entry: TocEntry) -> None:
            if type(entry) is Write:
                put(new_tuple(StateRow, (entry[0], entry[1], None, stands, 0)))

        gone = list(whiteouts(self._entries.rest))
        level = THOROUGH.get(self._compression) if self._size <= SMALL else None
        return LayerWriter(entries(), gone, contents, self._compression, written=written, level=level)


def _size(entry: TocEntry) -> int:
    return entry.node.size if isinstance(entry, Write | Context) else 0


def publish_entry(site: Site, target: Target, image: Image, record: Record, *, is_new: bool = False) -> Digest:
    """Store config, entry and pointer; what is there already is left alone.

    The entry's tag is written once: if it is there, this push was published before and its answer was lost.

    Args:
        is_new: whether this run fixed the record, so that nothing of it can be there, and looked for its number.

    Raises:
        IntegrityError: something else stands at the entry's tag.
        TagRefusedError: the registry takes no new tags.
    """
    config, manifest = format_image(image)
    there = None if is_new else target.entry(record)
    kept = target.store.get_manifest(there.digest) if there else None
    if kept is not None:
        digest, manifest = kept.digest, kept.data
    else:  # or it was pruned at this moment
        target.put_config(config, new=there is None)
        digest = put_manifest(site, target, entry_tag(target.tag, record.lane, record.id), manifest)
    place = place_of(record)
    if place is not None:
        _put_pointer(site, target, image, record.lane, place, manifest, digest, is_free=is_new)
    return digest


def free_number(
    site: Site, target: Target, lane: str, attempt: int | None, known: Iterable[Record], acknowledged: str | None
) -> int:
    """Return the number for the pointer of a push: the first that is free, all below it being taken.

    Args:
        known: the records of what is on the writer's disk.
        acknowledged: the id of the newest change that this directory published to the end: its pointer is there.
    """
    found = places(known, target.tag, lane).items()
    taken = {place.number: record for place, record in found if place.attempt == (attempt or 0)}
    start = max(taken, default=-1) + 1
    if start and taken[start - 1].id != acknowledged:
        _finish_other(site, target, taken[start - 1])
    return _first_free(target, lane, attempt, start)


def put_mark(site: Site, target: Target, image: Image) -> None:
    """Put the target's mark: from now on who names lanes counts their pointers and reads the list.

    It matters that it is there, not what it holds: its manifest is no entry's and not head's, so that it stays when
    these are deleted.

    Args:
        image: an image of the target that is stored already.
    """
    config, manifest = format_image(image._replace(lane="", attempt=None, change=MARK))
    target.put_config(config)
    with suppress(TagRefusedError):  # it is there, in a registry whose tags never move
        _put_named(site, target, mark_tag(target.tag), manifest)


def put_manifest(site: Site, target: Target, tag: str, manifest: bytes) -> Digest:
    """Put a manifest at a tag; its blobs were stored before.

    Raises:
        MissingBlobError: one of them is gone for good.
        TagRefusedError: the registry does not let the tag move.
    """
    for pause in LINK_PAUSES:
        try:
            return target.store.put_manifest(tag, manifest, MANIFEST)
        except MissingBlobError:
            # Who stores the same blob at the same moment hides it until its link is written anew (distribution).
            site.sleep(pause * (0.5 + site.random()))
    return target.store.put_manifest(tag, manifest, MANIFEST)


def _put_named(site: Site, target: Target, tag: str, manifest: bytes) -> None:
    """Put a manifest at a tag that others read by its name; see `wait_until_shown`."""
    target.unshown[tag] = put_manifest(site, target, tag, manifest)


def _put_pointer(
    site: Site, target: Target, image: Image, lane: str, place: Place, manifest: bytes, digest: Digest, *, is_free: bool
) -> None:
    """Put a pointer to an entry. Where another push took its place by now, the next free one is as good."""
    # Readers count attempts up from 0: one that published nothing leaves no gap.
    for earlier in range(place.attempt):
        with suppress(TagRefusedError):
            _put_named(site, target, pointer_tag(target.tag, lane, earlier, 0), manifest)
    number = place.number
    tag = pointer_tag(target.tag, lane, *place)
    there = None if is_free else target.store.get_manifest(tag)
    while there is None or there.digest != digest:
        if there is not None:
            number = _first_free(target, lane, place.attempt, number + 1)
            tag = pointer_tag(target.tag, lane, place.attempt, number)
        if place.attempt or number == 1:  # whoever takes a larger number finds the mark there
            put_mark(site, target, image)
        try:
            _put_named(site, target, tag, manifest)
            return
        except TagRefusedError:  # a registry whose tags never move: somebody was there first, or this push was
            there = target.store.get_manifest(tag)
            if there is None:
                raise


def _first_free(target: Target, lane: str, attempt: int | None, start: int) -> int:
    """Return the first number from `start` on that no pointer has.

    Raises:
        UsageError: there is none left.
    """

    def is_taken(number: int) -> bool:
        return target.store.get_manifest(pointer_tag(target.tag, lane, attempt, number)) is not None

    number = first_missing(is_taken, start)
    if number >= NUMBER_MAX:
        raise UsageError("no number is left for a push of this lane", subject=lane, remedy="push under another lane")
    return number


def _finish_other(site: Site, target: Target, record: Record) -> None:
    """Put the pointer of a change whose writer was stopped before it did: nobody counts beyond a gap.

    A change whose entry is gone, too, was pruned: a checkpoint tells of it.
    """
    place = place_of(record)
    assert place is not None
    tag = pointer_tag(target.tag, record.lane, *place)
    if target.store.get_manifest(tag) is not None:
        return
    entry = target.entry(record)
    kept = target.store.get_manifest(entry.digest) if entry else None
    with suppress(MissingBlobError):  # pruned and collected at this moment
        if entry and kept:
            _put_pointer(site, target, entry.image, record.lane, place, kept.data, kept.digest, is_free=True)


def wait_until_shown(site: Site, target: Target) -> None:
    """Wait until the registry shows the pointers that this push put: a reader does not wait for them.

    Why the writer does: docs/decisions/writers-wait-for-pointers.md. If the manifest is gone as well, another agent
    pruned it, and a checkpoint has what it held.

    Raises:
        UnavailableError: it does not for as long as the command's patience lasts.
    """
    waited, pause = 0.0, SHOWN_PAUSE
    while target.unshown:
        tag, digest = min(target.unshown.items())
        if target.store.get_manifest(tag) is not None or target.store.get_manifest(digest) is None:
            del target.unshown[tag]
            continue
        if waited >= site.patience:
            raise UnavailableError(
                f"the registry does not show this tag {format_duration(site.patience)} after it took it",
                subject=f"{target.name} ({tag})",
                remedy="push again, which publishes nothing twice",
            )
        site.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, SHOWN_PAUSE_MAX)
