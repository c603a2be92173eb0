"""A push's own bytes: the layer in one streamed pass, then config, entry and pointer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from agent.archive.toc_rules import InTar
from agent.archive.writer import LayerWriter, PackedLayer
from agent.core.diff import Entries
from agent.core.digest import Digest
from agent.core.duration import format_duration
from agent.core.entry import Context, Node, TocEntry, Write
from agent.core.image import Image
from agent.core.known import Fingerprint, Found, Known
from agent.core.manifest import MANIFEST, format_image
from agent.core.pack import whiteouts
from agent.core.record import Record
from agent.core.tags import entry_tag, pointer_tag
from agent.errors import MissingBlobError, TagRefusedError, UnavailableError
from agent.store.port import Store, Stored
from agent.sync.options import Compression
from agent.sync.site import Site
from agent.sync.survey import Survey
from agent.sync.target import Target
from agent.workspace.examine import open_content
from agent.workspace.root import Root
from agent.workspace.rows import ROWS
from agent.workspace.spill import Spill

_new: Any = tuple.__new__  # a named tuple's own constructor costs three times as much
LINK_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds, more or less, between tries to put a manifest whose blobs the registry does not find."""
SHOWN_PAUSE, SHOWN_PAUSE_MAX = 0.05, 2.0
"""Seconds between looks for what was put; doubled each time."""
BUFFERED = 4 << 20
"""Layers up to this size are held in memory, so that they can be checked for existence and sent again."""
SMALL = 16 << 20
"""Bytes of content up to which a layer is compressed thoroughly: a tenth less to move, for a few milliseconds."""
THOROUGH: dict[Compression, int] = {"zstd": 6, "gzip": 6}


class Packing:
    """One layer on its way: read, packed and uploaded in one pass.

    Args:
        entries: what it holds, in the tar the whiteouts that are marked (`mark_whiteouts`).

    Attributes:
        written: a row for each write, as it was packed last.
    """

    def __init__(self, site: Site, root: Root, look: Survey, entries: Entries, compression: Compression) -> None:
        self._site = site
        self._root = root
        self._entries = entries
        self._compression: Compression = compression
        self._prints = {old.path: found.print for old, found in (*look.sifted.suspects, *look.sifted.kept.values())}
        self._size = look.size + sum(_size(entry) for entry in entries.rest if entry.path in self._prints)
        self.written = Spill(site.state, ROWS)

    def upload(self, store: Store) -> tuple[PackedLayer, Stored]:
        """Pack the layer and store it.

        Raises:
            FileChangedError: a file changed while it was read.
        """
        self._site.progress.stage("upload", self._size, "bytes")
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
        put = self.written.append
        stands: Fingerprint | None = None

        def entries() -> Iterator[TocEntry]:
            # The writer takes an entry when it is done with the one before.
            nonlocal stands
            for entry, row in self._entries.beside():
                stands = row[3] if row is not None else prints.get(entry[0])
                yield entry

        def contents(entry: InTar) -> tuple[Node, bytes | Iterator[bytes]]:
            assert stands is not None
            size = stands.size
            xattrs, data = open_content(root, _new(Found, (entry.path, stands, 1, (0, 0))))
            # The survey decided what to record of it; of a new file only the content and its attributes were unread.
            kind, mode, uid, gid, mtime, _, _, target, device, recorded = entry.node
            progress.advance(size)
            return _new(Node, (kind, mode, uid, gid, mtime, size, b"", target, device, recorded or xattrs)), data

        def written(entry: TocEntry) -> None:
            if type(entry) is Write:
                put(_new(Known, (entry[0], entry[1], None, stands, 0)))

        gone = list(whiteouts(self._entries.rest))
        level = THOROUGH.get(self._compression) if self._size <= SMALL else None
        return LayerWriter(entries(), gone, contents, self._compression, written=written, level=level)


def _size(entry: TocEntry) -> int:
    return entry.node.size if isinstance(entry, Write | Context) else 0


def publish_entry(site: Site, target: Target, image: Image, record: Record) -> Digest:
    """Store config, entry and pointer; what is there already is left alone.

    The entry's tag is written once: if it is there, this push was published before and its answer was lost.

    Raises:
        IntegrityError: something else stands at the entry's tag.
        TagRefusedError: the registry takes no new tags.
    """
    config, manifest = format_image(image)
    there = target.entry(record)
    kept = target.store.get_manifest(there.digest) if there else None
    if kept is not None:
        digest, manifest = kept.digest, kept.data
    else:  # or it was pruned at this moment
        target.put_config(config, new=there is None)
        digest = put_manifest(site, target, entry_tag(target.tag, record.lane, record.id), manifest)
    # Readers count up and do not look behind a gap: what an earlier attempt leaves that published nothing or is pruned.
    for earlier in range(record.attempt or 0):
        with suppress(TagRefusedError):  # one that is there, in a registry whose tags never move
            put_manifest(site, target, pointer_tag(target.tag, record.lane, earlier), manifest)
    _put_pointer(site, target, record, manifest, digest)
    return digest


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


def wait_until_shown(site: Site, target: Target) -> None:
    """Wait until the registry shows the pointers that this push put: a reader does not wait for them.

    Why the writer does: docs/decisions/writers-wait-for-pointers.md.

    Raises:
        UnavailableError: it does not for as long as the command's patience lasts.
    """
    waited, pause = 0.0, SHOWN_PAUSE
    while target.unshown:
        tag = min(target.unshown)
        if target.store.get_manifest(tag) is not None:
            target.unshown.discard(tag)
            continue
        if waited >= site.patience:
            raise UnavailableError(
                f"the registry does not show this tag {format_duration(site.patience)} after it took it",
                subject=f"{target.name} ({tag})",
                remedy="push again, which publishes nothing twice",
            )
        site.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, SHOWN_PAUSE_MAX)


def _put_pointer(site: Site, target: Target, record: Record, manifest: bytes, digest: Digest) -> None:
    pointer = pointer_tag(target.tag, record.lane, record.attempt)
    try:
        put_manifest(site, target, pointer, manifest)
        target.unshown.add(pointer)
    except TagRefusedError as error:
        # A registry whose tags never move: a rerun finds what it put there, and a laptop's second push finds its first.
        there = target.store.get_manifest(pointer)
        if there is None or (there.digest != digest and record.attempt is not None):
            raise
        if there.digest != digest:
            site.progress.notice(f"{error.subject}: {error.what}; the lane's newest change is found by the list alone")
