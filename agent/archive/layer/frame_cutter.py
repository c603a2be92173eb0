"""Cut a tar into frames, between two entries if possible, and preferably between two directories."""

from __future__ import annotations

from collections.abc import Iterator

from agent.archive.stream.frames import FRAME, FRAME_FULL
from agent.archive.tar.tar_header import BLOCK, PADDING


class FrameCutter:
    """Collects the tar and cuts it into frames, so that the entries of one directory are in few of them.

    Attributes:
        room: bytes that the current frame can still take.
        full: frames that are complete and not taken yet.
    """

    __slots__ = ("_above", "_before", "_borders", "_parts", "_path", "full", "room")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._before = 0
        self._path = self._above = b""
        self._borders: list[tuple[int, int, int]] = []
        self.room = FRAME
        self.full: list[bytes] = []

    def begin(self, path: bytes, header: bytes, content: int) -> int:
        """Start an entry, ending the frame at its best border if this entry does not fit, and return its offset."""
        self._enter(path)
        while len(header) + content > self.room and (border := self._border()):
            self._end(border)
        offset = self._before + FRAME - self.room
        self.add(header)
        return offset

    def place(self, path: bytes, header: bytes, content: bytes) -> int:
        """Take a whole entry, padding its content, and return its offset."""
        padding = PADDING[-len(content) % BLOCK]
        length = len(header) + len(content) + len(padding)
        if length <= self.room:
            self._enter(path)
            offset = self._before + FRAME - self.room
            self._parts += (header, content, padding)
            self.room -= length
            return offset
        offset = self.begin(path, header, length - len(header))
        self.add(content)
        self.add(padding)
        return offset

    def _enter(self, path: bytes) -> None:
        """Note a border between two directories: its place, and the number of directories above both sides."""
        above = path.rpartition(b"/")[0]
        if above != self._above:
            self._above, common, last = above, above, self._path + b"/"
            while common and not last.startswith(common + b"/"):
                common = common.rpartition(b"/")[0]
            shared = common.count(b"/") + 1 if common else 0
            self._borders.append((shared, self.room - FRAME, len(self._parts)))
        self._path = path

    def _border(self) -> int:
        """Return the number of pieces in the frame, 0 if it is too small to end at an entry's border.

        The border with the fewest directories above both sides, and of these the last.
        """
        if borders := [border for border in self._borders if border[1] <= -FRAME_FULL]:
            return min(borders)[2]
        return len(self._parts) if self.room <= FRAME - FRAME_FULL else 0

    def add(self, data: bytes) -> None:
        """Take data of any length."""
        while len(data) > self.room:
            data, rest = data[: self.room], data[self.room :]
            self._parts.append(data)
            self.room = 0
            self.cut()
            data = rest
        self._parts.append(data)
        self.room -= len(data)

    def cut(self) -> None:
        """End the current frame and begin another."""
        self._end(len(self._parts))

    def _end(self, border: int) -> None:
        frame = b"".join(self._parts[:border])
        del self._parts[:border]
        size = len(frame)
        self._borders = [(shared, at + size, count - border) for shared, at, count in self._borders if count > border]
        self._before += size
        self.room += size
        self.full.append(frame)

    def take(self) -> Iterator[bytes]:
        """Yield the complete frames, and forget them."""
        full, self.full = self.full, []
        yield from full
