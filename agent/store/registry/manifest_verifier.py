"""Checks that a registry stored or deleted a manifest, if its response alone does not prove it.

By the specification, the deletion of a manifest by digest removes its tags too (distribution-spec, "Content
Management"). In registries built on go-containerregistry's `pkg/registry` the tags stay, so the image can still be
pulled: they are deleted one by one. Other registries do not offer deletion, or confirm one that did not happen. A PUT
is done if the response is 201; some registries send 200 or 202, which proves less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError, RefusedError
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.network.retrying import Timing
from agent.store.port import Deleted, Manifest
from agent.store.registry.document_reader import ACCEPT
from agent.store.registry.refusals import deletion_refusal, not_deleted, not_stored
from agent.store.registry.registry_errors import RegistryErrors

PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between checks for a manifest that the registry has accepted."""
_NOT_OFFERED = frozenset({400, 405, 501})


class ManifestVerifier:
    """Verifies changes of one repository's manifests. Safe for several threads.

    Args:
        url: the repository's `…/manifests/`.
        pull, delete: what the requests need.
        get: reads a manifest.
        errors: makes the errors.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        pull: Grants,
        delete: Grants,
        get: Callable[[str], Manifest | None],
        errors: RegistryErrors,
        timing: Timing,
    ) -> None:
        self._transport = transport
        self._url = url
        self._pull = pull
        self._delete = delete
        self._get = get
        self._errors = errors
        self._timing = timing

    def check_stored(self, response: Response, reference: str, digest: Digest) -> None:
        """Check that a manifest was stored, after a successful response to its PUT.

        Raises:
            IntegrityError: the registry stored something else.
            RefusedError: the registry stored nothing.
        """
        response.discard()
        reported = response.headers.get("Docker-Content-Digest", digest)
        if _algorithm(reported) == _algorithm(digest) and reported != digest:
            raise IntegrityError(
                "the registry keeps another manifest than it was given",
                subject=self._errors.subject(reference),
                remedy="use a registry that stores manifests as they are",
            )
        if response.status == 201:
            return
        for pause in PAUSES:
            if self._leads_to(reference, digest):
                return
            self._timing.sleep(pause)
        if not self._leads_to(reference, digest):
            raise not_stored(response.status, self._errors.subject(reference))

    def delete(self, digest: Digest, tags: Iterable[str]) -> Deleted:
        """Delete a manifest and check it: `port.Store.delete_manifest`."""
        found, refused = self._request_deletion(digest)
        by_tag = has_tags = False
        for tag in tags:
            has_tags = True
            if not self._leads_to(tag, digest):
                continue
            _, refused_by_tag = self._request_deletion(tag)
            if self._leads_to(tag, digest):
                raise refused or refused_by_tag or not_deleted(self._errors.subject(tag))
            by_tag = True
        if (refused or not has_tags) and not by_tag and self._leads_to(digest, digest):
            raise refused or not_deleted(self._errors.subject(digest))
        return Deleted(found or by_tag, by_tag)

    def _request_deletion(self, reference: str) -> tuple[bool, RefusedError | None]:
        """Request a deletion; return whether the registry confirms it, and its refusal if it offers none."""
        response = self._transport.call(Request("DELETE", self._url + reference), self._delete)
        if response.status in _NOT_OFFERED:
            return False, deletion_refusal(response.error_details(), self._errors.subject(reference))
        if response.status not in (200, 202, 204, 404):
            raise self._errors.refusal(response, reference)
        response.discard()
        return response.status != 404, None

    def _leads_to(self, reference: str, digest: Digest) -> bool:
        """Return whether a tag, or a digest, leads to a manifest."""
        response = self._transport.call(Request("HEAD", self._url + reference, ACCEPT), self._pull)
        response.discard()
        if response.status == 404:
            return False
        if response.status != 200:
            raise self._errors.refusal(response, reference)
        reported = response.headers.get("Docker-Content-Digest", "")
        if _algorithm(reported) == _algorithm(digest):
            return reported == digest
        manifest = self._get(reference)
        return manifest is not None and manifest.digest == digest


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]
