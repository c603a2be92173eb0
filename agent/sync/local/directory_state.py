"""The state of a directory as a value, and its header as JSON (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agent.core.directory.state_row import StateRow
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.manifest import load_json, parse_image
from agent.core.image.manifest_writer import format_image
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.pod import Pod

VERSION = 1


class DirectoryState(NamedTuple):
    """The record of a directory that was pulled or pushed (design, "State and scan").

    Attributes:
        target: the reference that it was pulled from or pushed to.
        root: (st_dev, st_ino) of the directory.
        clean_before: ns since 1970; a path whose ctime is not before this is racy.
        union: the changes that are on the disk.
        base: the reference that the base's layers can be read from.
        sparse: the globs of a sparse pull.
        finished: ids of the newest changes of the lanes that were pulled `--after`: no retry supersedes them.
        mark: the name of the last pull that wrote into the directory (`workspace.filesystem.mark`); None if it has
            no mark.
        published: the id of the last change that this directory published to the end.
        pod: the pod that it was last pulled or pushed in.
        rows: every path, in bytes order; can be iterated more than once.
    """

    target: str
    root: tuple[int, int]
    clean_before: int
    union: ChangeSet
    base: str | None = None
    sparse: tuple[bytes, ...] = ()
    finished: tuple[str, ...] = ()
    mark: str | None = None
    published: str | None = None
    pod: Pod | None = None
    rows: Iterable[StateRow] = ()

    def header(self) -> dict[str, Any]:
        """Return everything but `rows` as JSON."""
        _, manifest = format_image(self.union.image(""))
        return {
            "version": VERSION,
            "target": self.target,
            "root": list(self.root),
            "clean_before": self.clean_before,
            "manifest": manifest.decode(),
            "base": self.base,
            "sparse": [glob.hex() for glob in self.sparse],
            "finished": list(self.finished),
            "mark": self.mark,
            "published": self.published,
            "pod": self.pod,
        }

    def began_as(self, writer: Writer) -> Writer:
        """Return `writer` with its pod as the state has it, if the directory was pulled in the same pod.

        The pull was at the pod's start, so that the pod has the same stamp for the whole task.
        """
        is_same = writer.pod and self.pod and writer.pod.uid == self.pod.uid
        return writer._replace(pod=self.pod) if is_same else writer


def parse_state(header: dict[str, Any], rows: Iterable[StateRow]) -> DirectoryState:
    """Return the state of a header that `DirectoryState.header` made.

    Raises:
        KeyError, ValueError, TypeError: it is not a header of this version.
        IntegrityError: the image in it is none.
    """
    if header["version"] != VERSION:
        raise ValueError("version")
    device, inode = header["root"]
    return DirectoryState(
        target=str(header["target"]),
        root=(int(device), int(inode)),
        clean_before=int(header["clean_before"]),
        union=unite([_image(header["manifest"])]),
        base=header["base"],
        sparse=tuple(bytes.fromhex(glob) for glob in header["sparse"]),
        finished=tuple(str(change) for change in header["finished"]),
        mark=header.get("mark"),
        published=header["published"],
        pod=None if header["pod"] is None else _pod(*header["pod"]),
        rows=rows,
    )


def _pod(started: Any, uid: Any) -> Pod:
    return Pod(int(started), str(uid))


def _image(manifest: str) -> Image:
    return parse_image(load_json(manifest.encode(), "state"), None, "state")
