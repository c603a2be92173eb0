"""One actor's connection to the shared repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.core.spelling.digest import Digest, digest_of
from agent.errors import MissingBlobError, UnavailableError
from agent.store.port import Deleted, Manifest, Store, Stored, Traffic
from tests.model.actor import Actor, Call
from tests.model.world import World


@dataclass
class WeakStore:
    """One actor's connection to the repository; satisfies `port.Store`.

    Blobs and manifests by digest have their content's name and cannot be raced for, so that they are no steps of the
    schedule but for what changes the repository, where an actor may die; manifests are where some are deleted.
    """

    world: World
    actor: Actor
    traffic: Traffic = field(default_factory=Traffic)
    is_replicated: bool = False

    def get_manifest(self, reference: str) -> Manifest | None:
        call = Call("get", reference)
        if ":" in reference and not self.world.is_shared(call):
            return self._count(1, self.world.store.get_manifest(reference))
        ending = self.actor.ask(call)
        found = None if ending == "absent" else self.world.store.get_manifest(reference)
        return self._count(1, self._told(found, ending, found.digest if found else "none"))

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        digest = digest_of(data)
        ending = self.actor.ask(Call("put", reference, digest))
        if ending == "hidden":
            self._told(None, ending, "hidden")
            raise MissingBlobError("a blob is not there", subject=reference, remedy="push again")
        self.world.accept(reference, data, media_type, ending)
        self._told(None, ending, "put")
        if ending == "lost":
            raise UnavailableError("the connection broke", subject=reference, remedy="try again")
        return self._count(1, digest)

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        ending = self.actor.ask(Call("delete", digest))
        done = self.world.delete(digest)
        return self._count(1, self._told(done, ending, f"deleted: {done.found}"))

    def tags(self, prefix: str = "") -> list[str]:
        ending = self.actor.ask(Call("list", prefix))
        if ending == "down":
            self._told(None, ending, "down")
            raise UnavailableError("no list today", subject=prefix, remedy="try again")
        found = self.world.listed(prefix, ending)
        return self._count(1, self._told(found, ending, _told_by(found)))

    def has_blob(self, digest: Digest) -> bool:
        return self._count(1, self.world.store.has_blob(digest))

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self._count(1, self.world.store.read_blob(digest, start, length))

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        ending = self.actor.ask(Call("blob"))
        there = self.world.store.has_blob(digest_of(data))
        digest = self.world.store.put_blob(data)
        return self._count(2 if new else 1 if there else 3, self._told(digest, ending, digest))

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        content = b"".join(chunks())  # reads other blobs: the call begins when it has them
        ending = self.actor.ask(Call("blob"))
        stored = self.world.store.upload(lambda: iter([content]))
        return self._count(3, self._told(stored, ending, stored.digest))

    def check_push(self) -> None:
        pass

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        self.world.store.copy_blob(digest, size, source)

    def close(self) -> None:
        pass

    def _told(self, answer: Any, ending: str, learnt: str) -> Any:
        if ending == "dies-after":
            self.actor.die()
        self.actor.learnt.update(f"{learnt}\n".encode())
        return answer

    def _count(self, requests: int, answer: Any) -> Any:
        self.traffic.requests += requests
        return answer


def _told_by(tags: list[str]) -> str:
    """Return what a list tells: pointers and marks are found by their names, the list is not asked for them."""
    return " ".join(tag for tag in tags if "._p" not in tag and "._m" not in tag)
