"""Nodes with little to say, and trees written from them."""

import os
from hashlib import sha256
from typing import Any

from agent.core.model.entry import Kind, Node
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.tree_walk import TreeWalk
from agent.workspace.write.tree_writer import TreeWriter

MTIME = 1_111_111_111_123_456_789
ME = {"uid": os.geteuid(), "gid": os.getegid()}


def file_of(data: bytes, mode: int = 0o644, **more: Any) -> Node:
    return Node(Kind.FILE, mode, mtime=MTIME, size=len(data), sha256=sha256(data).digest(), **{**ME, **more})


def dir_of(mode: int = 0o755, **more: Any) -> Node:
    return Node(Kind.DIR, mode, mtime=MTIME, **{**ME, **more})


def link_to(target: bytes, **more: Any) -> Node:
    return Node(Kind.LINK, 0o777, mtime=MTIME, target=target, **{**ME, **more})


def place(root: Root, path: bytes) -> bytes:
    return os.path.join(root.path, path)


def write_all(root: Root, tree: dict[bytes, tuple[Node, bytes]]) -> TreeWriter:
    """Write a tree; the second part of a value is a file's content."""
    writer = TreeWriter(root)
    for path, (node, data) in sorted(tree.items()):
        write_one(writer, path, node, data)
    writer.finish()
    return writer


def write_one(writer: TreeWriter, path: bytes, node: Node, data: bytes = b"") -> None:
    if node.kind is Kind.DIR:
        writer.make_dir(path, node)
    elif node.kind is Kind.FILE:
        writer.write_file(path, node, (data,) if data else ())
    elif node.kind is Kind.LINK:
        writer.make_link(path, node)
    elif node.kind is Kind.FIFO:
        writer.make_fifo(path, node)
    else:
        writer.make_device(path, node)


def leftovers(root: Root) -> list[bytes]:
    walk = TreeWalk(root, lambda path, why: None)
    list(walk)
    return walk.leftovers
