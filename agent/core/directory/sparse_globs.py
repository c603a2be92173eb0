"""Which paths a sparse pull takes: globs over whole paths.

`*` and `?` stay within a name, `**` crosses names; what matches a directory takes everything below it, and every
directory above something taken is taken, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_BRACKET = re.compile(rb"\[([!^]?+)(\][^\]]*|[^\]]+)\]", re.DOTALL)

_WHOLE = frozenset({b"", b".", b"*", b"**"})

Select = Callable[[bytes], bool]


def everything(path: bytes) -> bool:
    """Select every path."""
    return True


class Selection:
    """Says whether a path, or a directory above it, matches one of several globs.

    Attributes:
        idle: the globs that have matched nothing so far.
    """

    def __init__(self, globs: Sequence[bytes]) -> None:
        alone = {glob: _matcher([plain]) for glob, plain in zip(globs, map(_plain, globs), strict=True)}
        self._alone = alone
        self._taken = _matcher(list(map(_plain, globs)))
        self.idle = list(alone)

    def __call__(self, path: bytes) -> bool:
        """Say whether `path` is selected."""
        if self._taken(path) is None:
            return False
        if self.idle:
            self.idle = [glob for glob in self.idle if self._alone[glob](path) is None]
        return True


def selection(globs: Sequence[bytes]) -> Select:
    """Return what says whether a path, or a directory above it, matches one of `globs`.

    As in a shell, `./x` is `x`, and `.` or `/` is everything, as `*` and `**` are.
    """
    return everything if is_whole(globs) else Selection(globs)


def is_whole(globs: Sequence[bytes]) -> bool:
    """Say whether `globs` select everything, whatever there is; without any, everything is selected."""
    return not globs or not _WHOLE.isdisjoint(map(_plain, globs))


def idle(selected: Select) -> list[bytes]:
    """Return the globs of a selection that have matched nothing so far."""
    return selected.idle if isinstance(selected, Selection) else []


def escape(path: bytes) -> bytes:
    """Return a glob that matches exactly `path`."""
    return re.sub(rb"[*?[]", rb"[\g<0>]", path)


def _plain(glob: bytes) -> bytes:
    return glob.strip(b"/").removeprefix(b"./")


def _matcher(globs: Sequence[bytes]) -> Callable[[bytes], re.Match[bytes] | None]:
    return re.compile(b"(?:" + b"|".join(map(_translate, globs)) + b")(?:/.*)?", re.DOTALL).fullmatch


def _translate(glob: bytes) -> bytes:
    out, at = b"", 0
    while at < len(glob):
        if glob.startswith(b"**/", at):
            out, at = out + b"(?:[^/]+/)*", at + 3
        elif glob.startswith(b"**", at):
            out, at = out + b".*", at + 2
        elif glob[at : at + 1] == b"*":
            out, at = out + b"[^/]*", at + 1
        elif glob[at : at + 1] == b"?":
            out, at = out + b"[^/]", at + 1
        elif glob[at : at + 1] == b"[" and (bracket := _BRACKET.match(glob, at)):
            out, at = out + _class(bracket[1], bracket[2]), bracket.end()
        else:
            out, at = out + re.escape(glob[at : at + 1]), at + 1
    return out


def _class(negation: bytes, inner: bytes) -> bytes:
    """Return the regular expression for one byte of a bracket expression; a range whose ends are swapped is empty."""
    parts = [b"/"] if negation else []
    while inner:
        first, last, length = inner[0], inner[0], 1
        if len(inner) > 2 and inner[1:2] == b"-":
            last, length = inner[2], 3
        if first <= last:
            parts.append(b"\\x%02x-\\x%02x" % (first, last))
        inner = inner[length:]
    if not parts:
        return b"(?!)"
    return b"(?!/)[" + (b"^" if negation else b"") + b"".join(parts) + b"]"
