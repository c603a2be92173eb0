"""Which paths a sparse pull takes: globs over whole paths, as in `.gitignore` and GNU tar's `--wildcards`.

`*` and `?` stay within a name, `**` crosses names; what matches a directory takes everything below it, and every
directory above something taken is taken, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from agent.core.path import ancestors

Select = Callable[[bytes], bool]


def everything(path: bytes) -> bool:
    """Select every path."""
    return True


def selection(globs: Sequence[bytes]) -> Select:
    """Return a function that says whether a path, or a directory above it, matches one of `globs`."""
    if not globs:
        return everything
    pattern = re.compile(b"|".join(_translate(glob.strip(b"/")) for glob in globs), re.DOTALL)

    def selected(path: bytes) -> bool:
        return pattern.fullmatch(path) is not None or any(pattern.fullmatch(above) for above in ancestors(path))

    return selected


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
        elif glob[at : at + 1] == b"[" and (end := glob.find(b"]", at + 2)) > 0:
            inner = glob[at + 1 : end].replace(b"\\", b"\\\\")
            out, at = out + b"(?!/)[" + (b"^" + inner[1:] if inner[:1] == b"!" else inner) + b"]", end + 1
        else:
            out, at = out + re.escape(glob[at : at + 1]), at + 1
    return b"(?:" + out + b")"
