"""The places where `agent render` looks objects up: bundles, and the files that were given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.core.spelling.reference import parse_reference
from agent.errors import NotInBundleError, UnwrappableError
from agent.tekton.lookup.bundle_rewrite import BundleRewrite, rewrite_bundles
from agent.tekton.lookup.lookup import CLUSTER
from agent.tekton.lookup.lookup_answer import answer, not_found
from agent.tekton.lookup.lookup_request import LABELS, LookupRequest
from agent.tekton.model.fields import Object
from agent.tekton.model.names import BUNDLES
from agent.tekton.model.object_reference import Reference
from agent.tekton.requests.bundle_image import Member


class Bundles(Protocol):
    """A reader of bundles. All methods raise AgentError if a bundle cannot be read."""

    def get(self, place: str, kind: str, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            NotInBundleError: the bundle does not have it.
        """

    def members(self, place: str) -> Sequence[Member]:
        """Return the objects of a bundle."""

    def digest(self, place: str) -> str:
        """Return a bundle's digest."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places where objects are looked up.

    Attributes:
        bundles: reads bundles.
        given: returns an object (kind, reference) of the given files. They take the place of the namespace, and of all
            resolvers but `bundles`.
        repointings: the bundles to replace by others in the objects that are found.
    """

    bundles: Bundles
    given: Callable[[str, Reference], Object | None]
    bundle_rewrites: Sequence[BundleRewrite] = ()

    def find(self, asked: LookupRequest, where: str) -> dict[str, Any]:
        """Return an object as the resolver `lookup` answers it.

        Args:
            where: the object that refers to it, for the error.

        Raises:
            NotInBundleError: it is in none of the places.
            UnwrappableError: it names its own source, and that was not given.
            AgentError: a bundle cannot be read.
        """
        if asked.source is not None:
            value, origin = self._from_source(asked.source, asked.kind, where)
            return self._answer(value, asked, "", origin)
        members: dict[str, Sequence[Member]] = {}
        for place in asked.lookup.places:
            if place == CLUSTER:
                found = self.given(LABELS[asked.kind], Reference(asked.name))
                if found is not None:
                    return self._answer(found, asked, place, {})
                continue
            try:
                value = self.bundles.get(place, asked.kind, asked.name)
            except NotInBundleError:
                members[place] = self.bundles.members(place)
                continue
            return self._answer(value, asked, place, self._origin(place))
        raise not_found(asked, members, where)

    def place_of(self, asked: LookupRequest, where: str) -> str:
        """Return the first place that has an object."""
        for place in asked.lookup.places:
            members = [] if place == CLUSTER else self.bundles.members(place)
            if any((member.kind, member.name) == (asked.kind, asked.name) for member in members):
                return place
        if CLUSTER in asked.lookup.places:
            return CLUSTER
        raise not_found(asked, {place: self.bundles.members(place) for place in asked.lookup.places}, where)

    def pinned(self, place: str) -> str:
        """Return a bundle's reference with its digest. A reference with a variable stays as it is."""
        if "$(" in place or parse_reference(place).digest is not None:
            return place
        return f"{place}@{self.bundles.digest(place)}"

    def _answer(self, value: Object, asked: LookupRequest, place: str, origin: Object) -> dict[str, Any]:
        return answer(rewrite_bundles(value, self.bundle_rewrites), asked, place, origin)

    def _origin(self, place: str) -> Object:
        algorithm, _, value = self.bundles.digest(place).partition(":")
        return {"uri": place, "digest": {algorithm: value}}

    def _from_source(self, source: Reference, kind: str, where: str) -> tuple[Object, Object]:
        params = {name: json.loads(value) for name, value in source.params}
        place, name = params.get("bundle"), params.get("name")
        if source.resolver == BUNDLES and isinstance(place, str) and isinstance(name, str) and "$(" not in place + name:
            return self.bundles.get(place, kind, name), self._origin(place)
        found = self.given(LABELS[kind], source)
        if found is None:
            # If the reference stayed as it is, it could name objects of the namespace.
            raise UnwrappableError(
                "it is not among the files",
                subject=f"{where}, {LABELS[kind]} {source}",
                remedy="give the file that has it, too, or let the controller look it up",
            )
        return found, {}
