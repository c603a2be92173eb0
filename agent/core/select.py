"""Which paths a sparse pull takes: globs over whole paths.

`*` and `?` stay within a name, `**` crosses names; what matches a directory takes everything below it, and every
directory above something taken is taken, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_BRACKET = re.compile(rb"\[([!^]?+)(\][^\]]*|[^\]]+)\]", re.DOTALL)

Select = Callable[[bytes], bool]


def everything(path: bytes) -> bool:
    """Select every path."""
    return True


def selection(globs: Sequence[bytes]) -> Select:
    """Return a function that says whether a path, or a directory above it, matches one of `globs`.

    As in a shell, `./x` is `x`, and `.` or `/` is everything.
    """
    plain = [glob.strip(b"/").removeprefix(b"./") for glob in globs]
    if not plain or not {b"", b"."}.isdisjoint(plain):
        return everything
    taken = re.compile(b"(?:" + b"|".join(map(_translate, plain)) + b")(?:/.*)?", re.DOTALL).fullmatch

    def selected(path: bytes) -> bool:
        return taken(path) is not None

    return selected


def escape(path: bytes) -> bytes:
    """Return a glob that matches exactly `path`."""
    return re.sub(rb"[*?[]", rb"[\g<0>]", path)


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
