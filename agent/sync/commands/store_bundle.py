"""Tekton bundles, pushed to a store and read from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.image.image import DEFAULT_PLATFORM
from agent.core.image.manifest import DOCKER_LIST, INDEX, MANIFEST, load_json
from agent.core.image.platform_choice import choose_platform
from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import Reference, parse_reference
from agent.errors import IntegrityError, UsageError
from agent.store.port import Manifest, Store
from agent.sync.remote.resolved_image import read_small_blob
from agent.tekton.model.fields import Object
from agent.tekton.requests.bundle_image import Member, find, pack, parse_members, unpack


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in a store; `digest` is that of its image manifest."""

    reference: Reference
    digest: Digest
    members: tuple[Member, ...]


def push_bundle(store: Store, reference: Reference, objects: Sequence[Object]) -> Bundle:
    """Put objects into a bundle at a tag.

    Raises:
        UsageError: they are no bundle, see `agent.tekton.requests.bundle_image.pack`.
        AuthError, UnavailableError: see `agent.errors`.
    """
    packed = pack(objects)
    for blob in (*packed.layers, packed.config):
        store.put_blob(blob)
    digest = store.put_manifest(reference.tag or "latest", packed.manifest, MANIFEST)
    return Bundle(reference, digest, parse_members(load_json(packed.manifest, str(reference)), str(reference)))


def read_bundle(store: Store, reference: Reference) -> Bundle:
    """Return a bundle with its members. Of an index it is the image for linux/amd64, as in Tekton.

    Raises:
        UsageError: there is none at the reference.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    subject = str(reference)
    manifest = _manifest(store, reference.digest or reference.tag or "latest", subject)
    value = load_json(manifest.data, subject)
    if manifest.media_type in (INDEX, DOCKER_LIST):
        manifest = _manifest(store, choose_platform(value, DEFAULT_PLATFORM, subject), subject)
        value = load_json(manifest.data, subject)
    return Bundle(reference, manifest.digest, parse_members(value, subject))


def read_object(store: Store, bundle: Bundle, kind: str, name: str) -> dict[str, Any]:
    """Return an object of a bundle.

    Args:
        kind: in upper or lower case; empty if the name is unique in the bundle.

    Raises:
        NotInBundleError: it does not hold one.
        UsageError: without `kind`, it holds several.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    member = find(bundle.members, kind, name, str(bundle.reference))
    return unpack(read_small_blob(store, member.digest, member.size), member, str(bundle.reference))


class Bundles:
    """A cache of bundles: each is read once, so that all objects of one come from the same image."""

    def __init__(self, open_store: Callable[[Reference], Store]) -> None:
        self._open_store = open_store
        self._read: dict[str, Bundle] = {}

    def get(self, place: str, kind: str, name: str) -> dict[str, Any]:
        """Return an object of the bundle at the reference `place`; raises as `read_object` and `read_bundle` do."""
        bundle = self._bundle(place)
        return read_object(self._open_store(bundle.reference), bundle, kind, name)

    def members(self, place: str) -> tuple[Member, ...]:
        """Return the members of a bundle; raises as `read_bundle` does."""
        return self._bundle(place).members

    def digest(self, place: str) -> Digest:
        """Return a bundle's digest; raises as `read_bundle` does."""
        return self._bundle(place).digest

    def _bundle(self, place: str) -> Bundle:
        if place not in self._read:
            reference = parse_reference(place)
            self._read[place] = read_bundle(self._open_store(reference), reference)
        return self._read[place]


def _manifest(store: Store, reference: str, subject: str) -> Manifest:
    found = store.get_manifest(reference)
    if found is None:
        raise UsageError("there is no such bundle", subject=subject, remedy="push it, or mend the reference")
    if found.media_type not in (INDEX, DOCKER_LIST) and b'"layers"' not in found.data:
        raise IntegrityError("it is no image", subject=subject, remedy="name a bundle")
    return found
