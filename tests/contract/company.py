"""Several agents at one target: processes of their own where a store can be shared, threads where it is memory."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.core.image.image import Image
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Placed, TarItem, Whiteout
from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import parse_reference
from agent.store.manifest_checks import referenced_digests
from agent.store.port import Store
from agent.sync.commands.read_target import Log, LogEntry, log
from agent.sync.remote.resolved_image import read_image, this_platform
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot
from tests.fakes.killing import Killed
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import Plain, on_disk, unpacked
from tests.fakes.watched import watched
from tests.fakes.workspaces import Workspaces


@dataclass
class Company:
    """What the tests of the guarantees do with workspaces and look at behind their back."""

    there: Workspaces

    @property
    def tag(self) -> str:
        return parse_reference(self.there.target).tag or ""

    @property
    def store(self) -> Store:
        return self.there.open_store(parse_reference(self.there.target))

    def another(self) -> Workspaces:
        """Return the same workspaces over connections of their own, as another agent has them."""
        is_memory = isinstance(self.there, MemoryWorkspaces)
        return self.there if is_memory else Workspaces(self.there.place, self.there.target)

    def tree(self, name: str, **options: Any) -> Plain:
        """Pull into a directory and return what lies there."""
        self.there.pull(name, **options)
        return on_disk(self.there.at(name))

    def seen(self) -> TargetSnapshot:
        return Target(lambda _: self.store, parse_reference(self.there.target), this_platform(None)).read_snapshot()

    def image(self, reference: str) -> Image:
        located = read_image(self.store, reference, this_platform(None), reference)
        assert located is not None
        return located.image

    def entries(self) -> list[str]:
        return [tag for tag in self.store.tags() if "._e" in tag]

    def checkpoints(self) -> list[str]:
        return [tag for tag in self.store.tags() if "._c" in tag]

    def pointers(self) -> dict[str, str]:
        """Return every tag, and the digest it is at."""
        return {tag: self.digest(tag) for tag in self.store.tags()}

    def digest(self, tag: str) -> str:
        manifest = self.store.get_manifest(tag)
        return manifest.digest if manifest else ""

    def logged(self) -> Log:
        return log(self.store, parse_reference(self.there.target))

    def log(self) -> list[LogEntry]:
        return self.logged().changes

    def kept_by(self, tags: Iterable[str]) -> set[str]:
        """Return the ids of the changes that images hold."""
        return {change for tag in tags for change in self.image(tag).records}

    def head_of_now(self) -> Callable[[], object]:
        """Return what puts head back to what it is now: a PUT that lands late."""
        head = self.store.get_manifest(self.tag)
        assert head is not None
        return lambda: self.store.put_manifest(self.tag, head.data, head.media_type)

    def delete(self, tag: str) -> None:
        manifest = self.store.get_manifest(tag)
        assert manifest is not None
        assert self.store.delete_manifest(manifest.digest)

    def copy_entry(self, tag: str, target: str) -> None:
        """Copy an entry to another target with the same tag."""
        to, manifest = self.there.open_store(parse_reference(target)), self.store.get_manifest(tag)
        assert manifest is not None
        for digest in referenced_digests(manifest.data):
            to.put_blob(b"".join(self.store.read_blob(Digest(digest))))
        to.put_manifest(tag, manifest.data, manifest.media_type)

    def push_at_once(self, names: Sequence[str]) -> None:
        """Push from several directories at the same time."""
        if isinstance(self.there, MemoryWorkspaces):
            with ThreadPoolExecutor(len(names)) as threads:
                list(threads.map(self.there.push, names))
            return
        gate, opened = os.pipe()
        running = [_start(lambda name=name: (os.read(gate, 1), self.another().push(name))) for name in names]
        os.write(opened, b"x" * len(names))
        assert [os.waitpid(pid, 0)[1] for pid in running] == [0] * len(names)
        os.close(gate)
        os.close(opened)

    def push_killed(self, name: str, moment: Callable[[str, str], bool], **options: Any) -> None:
        """Push, and be killed right before the first call of the store that is the moment."""
        is_memory = isinstance(self.there, MemoryWorkspaces)
        agent = self.another()

        def strike(call: str, subject: str) -> None:
            if not moment(call, subject):
                return
            if is_memory:
                raise Killed
            os.kill(os.getpid(), signal.SIGKILL)

        def act() -> None:
            with watched(agent, strike):
                agent.push(name, **options)

        if is_memory:
            try:
                act()
            except Killed:
                return
            raise AssertionError("the moment did not come")
        _, status = os.waitpid(_start(act), 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _start(act: Callable[[], object]) -> int:
    """Do something in a process of its own, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def items(store: Store, image: Image) -> list[list[TarItem]]:
    """Return what an image's layers say, read with the standard library; a file's node has a digest and no size."""
    found = []
    for layer in image.layers:
        data = unpacked(b"".join(store.read_blob(layer.digest)))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found.append([_item(tar, member) for member in tar])
    return found


def _item(tar: tarfile.TarFile, member: tarfile.TarInfo) -> TarItem:
    path, (above, _, name) = os.fsencode(member.name), member.name.rpartition("/")
    if name.startswith(".wh."):
        return Whiteout(os.fsencode(f"{above}/{name[4:]}".lstrip("/")))
    if member.islnk():
        return Linked(path, os.fsencode(member.linkname))
    if member.isdir():
        return Placed(path, Node(Kind.DIR, member.mode))
    file = tar.extractfile(member)
    assert file is not None
    return Placed(path, Node(Kind.FILE, member.mode, sha256=sha256(file.read()).digest()))
