"""Read a whole layer, ours or another's, and verify all that it claims (design section 8).

Decompression and the digests of blob and tar run in a thread of their own, unless the blob is small; the tar is read,
and contents are hashed, in the consumer's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256

from agent.archive.ahead import ahead
from agent.archive.compression import compression_of
from agent.archive.decode import Decoder
from agent.archive.limits import DEFAULT_LIMITS, Limits, damaged, excessive
from agent.archive.tar import END, encode_header, padded, whiteout_header
from agent.archive.toc import Toc
from agent.archive.trailer import missing_toc
from agent.archive.untar import TarReader
from agent.core.digest import Digest
from agent.core.entry import Kind
from agent.core.item import Item, Placed
from agent.core.path import show

_AHEAD = 4
_SMALL = 256 << 10
"""Bytes of a blob that a thread of its own is not worth starting for."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a layer is promised to be; what is None is not checked.

    Attributes:
        digest: of the blob.
        size: of the blob, in bytes.
        diff_id: of the tar.
        toc: sha256 (hex) of the entry part of its table of contents, which makes it a layer of ours: it must then be
            exactly as we write it. None: a layer of others, or of ours that another tool encoded anew.
    """

    digest: Digest | None = None
    size: int | None = None
    diff_id: Digest | None = None
    toc: str | None = None


class LayerReader:
    """Iterate once to get the layer's items with their contents, as `untar.read_tar` does.

    Nothing that came out counts before the iterator is exhausted without an error: some checks are possible at the end
    only. Contents of a layer of ours are compared with their sha256 before the iterator is exhausted, whether they
    were consumed or skipped. An iterator closed early ends all threads.

    Attributes:
        toc: the table of contents of a layer of ours, once the iterator is exhausted.
        size: bytes of its tar, end of archive included, likewise.

    Args:
        chunks: the blob; iterated in another thread, if it is not small.
        media_type: OCI's or Docker's.
        expected: what was promised.
        limits: what to refuse.
        contents: for entries of a layer of ours, by offset, the raw sha256 that the content must have: what is wrong is
            then noticed before its end is told, not only at the layer's end.

    Raises (while iterating):
        IntegrityError: something is not what was promised, or is damaged or truncated.
        UnsafeArchiveError: a path leaves the root, a whiteout is malformed, a limit is exceeded.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        media_type: str,
        expected: Expected,
        limits: Limits = DEFAULT_LIMITS,
        contents: Mapping[int, bytes] | None = None,
    ) -> None:
        self.toc: Toc | None = None
        self.size = 0
        self._chunks = chunks
        self._promised = contents or {}
        self._compression = compression_of(media_type)
        self._expected = expected
        self._limits = limits
        self._ours = expected.toc is not None
        self._decoder = Decoder(self._blob(), self._compression, limits, ours=self._ours)
        self._seal = sha256()

    def __iter__(self) -> Iterator[tuple[Item, Iterator[bytes]]]:
        is_small = self._expected.size is not None and self._expected.size <= _SMALL
        with closing(self._pieces() if is_small else ahead(self._pieces(), _AHEAD)) as pieces:
            lenient = not self._ours and self._expected.digest is not None
            tar = TarReader(pieces, self._limits, end_required=not lenient)
            yield from self._sealed(tar) if self._ours else self._plain(tar)
            self.size = size = tar.offset
            self._finish(size, tar.rest())

    def _plain(self, tar: TarReader) -> Iterator[tuple[Item, Iterator[bytes]]]:
        for item, data in tar.members():
            yield item, tar.stream() if data is None else iter((data,) if data else ())

    def _sealed(self, tar: TarReader) -> Iterator[tuple[Item, Iterator[bytes]]]:
        """Yield the items, and hash what the table of contents, which comes last, will have to agree with."""
        seal = self._seal
        for item, data in tar.members():
            is_file = type(item) is Placed and item.node.kind is Kind.FILE
            seal.update(b"%d %d\n%b" % (item.offset, len(tar.header), tar.header))
            if data is not None:
                if is_file:
                    seen = sha256(data).digest()
                    check_content(self._promised.get(item.offset), seen, item.path)
                    seal.update(seen)
                yield item, iter((data,) if data else ())
            else:
                digest = sha256()
                content = Hashing(tar.stream(), digest, self._promised.get(item.offset), item.path)
                yield item, content
                for _ in content:
                    pass
                seal.update(digest.digest())

    def _finish(self, size: int, rest: Iterator[bytes]) -> None:
        compression, limits = self._compression, self._limits
        if not self._ours:
            left = limits.padding
            for piece in rest:
                left -= len(piece)
                if left < 0:
                    raise excessive(f"more than {limits.padding} bytes follow its end of archive")
            return
        left, tail = limits.toc, []
        for piece in rest:
            left -= len(piece)
            tail.append(piece)
            if compression != "none" or left < 0:
                raise damaged("bytes follow its end of archive")
        payload = b"".join(tail) or self._decoder.payload
        if not payload:
            raise missing_toc()
        self._check_toc(Toc(payload, limits), size)

    def _check_toc(self, toc: Toc, size: int) -> None:
        if toc.sha256 != self._expected.toc:
            raise damaged("its table of contents is not the one that the change names")
        if toc.compression != self._compression or toc.size != size:
            raise damaged("its frames do not tile the blob")
        if self._compression != "none" and toc.frames != tuple(self._decoder.frames):
            raise damaged("its frames are not those of its table of contents")
        if _seal_of(toc, size) != self._seal.digest():
            raise damaged("its tar is not the one that its table of contents describes")
        self.toc = toc

    def _pieces(self) -> Generator[bytes, None, None]:
        """Yield the tar, and check what is known of it and the blob when it is at its end."""
        expected = self._expected
        diff = _hash_for(expected.diff_id)
        for data in self._decoder.pieces():
            diff.update(data)
            yield data
        if expected.diff_id and not expected.diff_id.endswith(":" + diff.hexdigest()):
            raise damaged("its uncompressed content has another digest than promised", str(expected.diff_id))

    def _blob(self) -> Iterator[bytes]:
        expected = self._expected
        blob, left = _hash_for(expected.digest), expected.size
        for chunk in self._chunks:
            blob.update(chunk)
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    raise damaged("it is larger than promised", str(expected.digest))
            yield chunk
        if left:
            raise damaged("it is smaller than promised", str(expected.digest))
        if expected.digest and not expected.digest.endswith(":" + blob.hexdigest()):
            raise damaged("it has another digest than promised", str(expected.digest))


def read_layer(
    chunks: Iterable[bytes], media_type: str, expected: Expected, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[Item, Iterator[bytes]]]:
    """Yield the items of a layer with their contents; see `LayerReader`."""
    return iter(LayerReader(chunks, media_type, expected, limits))


class Hashing(Iterator[bytes]):
    """Gives a content on, and hashes what it gives.

    Args:
        content: in chunks.
        digest: what to hash with.
        promised: the raw sha256 that it must have; checked before the content's end is told, so that whoever writes
            it does not keep it otherwise. None: not checked here.
        subject: what to call it in an error.
    """

    __slots__ = ("_content", "_digest", "_promised", "_subject")

    def __init__(
        self, content: Iterator[bytes], digest: hashlib._Hash, promised: bytes | None = None, subject: bytes = b""
    ) -> None:
        self._content = content
        self._digest = digest
        self._promised = promised
        self._subject = subject

    def __next__(self) -> bytes:
        try:
            data = next(self._content)
        except StopIteration:
            check_content(self._promised, self._digest.digest(), self._subject)
            raise
        self._digest.update(data)
        return data


def check_content(promised: bytes | None, digest: bytes, path: bytes) -> None:
    """Raise IntegrityError if a content has another raw sha256 than promised; `path` names it."""
    if promised is not None and digest != promised:
        raise damaged("its content is not the one that the table of contents describes", show(path))


def _hash_for(digest: Digest | None) -> hashlib._Hash:
    return hashlib.sha512() if digest and digest.startswith("sha512:") else sha256()


def _seal_of(toc: Toc, size: int) -> bytes | None:
    """Return what `_sealed` must have hashed if the tar is the one that `toc` describes; None if there is none such."""
    seal = sha256()
    at = 0
    for path in toc.whiteouts():
        header = whiteout_header(path)
        seal.update(b"%d %d\n%b" % (at, len(header), header))
        at += len(header)
    for entry, link_to in toc.placed():
        header = encode_header(entry.path, entry.node, link_to)
        if entry.offset != at:
            return None
        seal.update(b"%d %d\n%b" % (at, len(header), header))
        at += len(header)
        if entry.node.kind is Kind.FILE and link_to is None:
            seal.update(entry.node.sha256)
            at += padded(entry.node.size)
    return seal.digest() if at + len(END) == size else None
