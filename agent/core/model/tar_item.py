"""The items of a layer's tar, before they are interpreted (image-spec, layer.md)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from agent.core.model.entry import Node


class Placed(NamedTuple):
    """`node` is put at `path`. A file's `sha256` is known only after its content was read."""

    path: bytes
    node: Node
    offset: int = 0


class Linked(NamedTuple):
    """`path` becomes another name of the file at `to`."""

    path: bytes
    to: bytes
    offset: int = 0


class Whiteout(NamedTuple):
    """Whatever lower layers have at `path` is gone."""

    path: bytes
    offset: int = 0


class Opaque(NamedTuple):
    """Whatever lower layers have below the directory `path` is gone; `b""` is the root."""

    path: bytes
    offset: int = 0


TarItem: TypeAlias = Placed | Linked | Whiteout | Opaque
