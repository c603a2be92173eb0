"""A plain tar, for layers whose bytes must depend on no library's version: a merger's fix-up (design, "Head")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from agent.archive.tar.tar_header import BLOCK, END, encode_header, whiteout_header
from agent.core.model.entry import Kind, TreeEntry


def plain_tar(
    whiteouts: Iterable[bytes], rows: Iterable[TreeEntry], content: Callable[[TreeEntry], Iterator[bytes]]
) -> Iterator[bytes]:
    """Yield a tar of whiteouts and rows of a tree, both in bytes order of paths.

    Args:
        content: yields the content of a file. Of rows that share a `group` only the first is asked for.
    """
    for path in whiteouts:
        yield whiteout_header(path)
    first: dict[int, bytes] = {}
    for row in rows:
        to = row.path if row.group is None else first.setdefault(row.group, row.path)
        if to != row.path:
            yield encode_header(row.path, row.node, to)
            continue
        yield encode_header(row.path, row.node)
        if row.node.kind is Kind.FILE:
            yield from content(row)
            yield bytes(-row.node.size % BLOCK)
    yield END
