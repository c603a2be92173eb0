"""Files of Tekton objects: the option `-f`, and reading the files that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import click

from agent.errors import UsageError, WorkspaceError

_SUFFIXES = {".yaml", ".yml", ".json"}
_STDIN = "-"
LARGEST = 64 * 1024 * 1024
"""Bytes of one file."""

files = click.option(
    "--file",
    "-f",
    "paths",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(path_type=str),
    help="YAML or JSON, a directory of it, or - for standard input. Repeatable.",
)


def read_files(paths: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects in files, each with the name of its file. A list is replaced by its items.

    Raises:
        UsageError: a file is not YAML, or larger than 64 MiB, or PyYAML is not installed.
        WorkspaceError: a file cannot be read.
    """
    from agent.tekton.model import documents

    names = [name for path in paths for name in _files(path)]
    return [(name, document) for name in names for document in documents.read_objects(_read(name), name)]


def _files(path: str) -> Iterator[str]:
    if path == _STDIN or not os.path.isdir(path):
        yield path
        return
    for directory, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            if PurePath(name).suffix in _SUFFIXES:
                yield os.path.join(directory, name)


def _read(name: str) -> str:
    try:
        with click.open_file(name, "rb") as stream:
            data: bytes = stream.read(LARGEST + 1)
    except OSError as error:
        raise WorkspaceError(
            f"cannot be read: {os.strerror(error.errno or 0)}", subject=name, remedy="name a file that can be read"
        ) from error
    if len(data) > LARGEST:
        raise UsageError("larger than 64 MiB", subject=name, remedy="give the files that the run needs")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("not UTF-8", subject=name, remedy="give YAML") from error
