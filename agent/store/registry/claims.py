"""What a registry says that it did with a manifest, believed after a look where its word is not enough.

A manifest that is deleted by its digest takes its tags along, says the specification (distribution-spec, "Content
Management"). In registries that are made of go-containerregistry's `pkg/registry` the tags live on, so that the image
can still be pulled: they are deleted one by one. Others say that deletion is not offered, or that they did what they
did not. A PUT is done when the answer is 201; some say 200 or 202, and that means less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.core.spelling.digest import Digest
from agent.errors import AgentError, IntegrityError, RefusedError
from agent.store.login.auth import Grants
from agent.store.manifest_limits import MANIFEST_TYPES
from agent.store.network.refusal import deletion_refusal, kept_all_the_same, not_kept
from agent.store.network.retrying import Timing
from agent.store.port import Deleted, Manifest
from agent.store.registry.answer import Answer, Request
from agent.store.registry.transport import Transport

ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between looks for what a registry says it has accepted."""
_NOT_OFFERED = frozenset({400, 405, 501})


class Claims:
    """Checks what one registry says of one repository's manifests. Safe for several threads.

    Args:
        url: the repository's `…/manifests/`.
        pull, delete: what requests need.
        get: reads a manifest.
        judge: makes errors of refusals; its second argument is what was asked for.
        subject: names a manifest for people.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        pull: Grants,
        delete: Grants,
        get: Callable[[str], Manifest | None],
        judge: Callable[[Answer, str], AgentError],
        subject: Callable[[str], str],
        timing: Timing,
    ) -> None:
        self._transport = transport
        self._url = url
        self._pull = pull
        self._delete = delete
        self._get = get
        self._judge = judge
        self._subject = subject
        self._timing = timing

    def check_stored(self, answer: Answer, reference: str, digest: Digest) -> None:
        """See that what was put is there, after an answer that says so.

        Raises:
            IntegrityError: the registry keeps something else.
            RefusedError: it keeps nothing.
        """
        answer.discard()
        said = answer.headers.get("Docker-Content-Digest", digest)
        if _algorithm(said) == _algorithm(digest) and said != digest:
            raise IntegrityError(
                "the registry keeps another manifest than it was given",
                subject=self._subject(reference),
                remedy="use a registry that stores manifests as they are",
            )
        if answer.status == 201:
            return
        for pause in PAUSES:
            if self._leads_to(reference, digest):
                return
            self._timing.sleep(pause)
        if not self._leads_to(reference, digest):
            raise not_kept(answer.status, self._subject(reference))

    def delete(self, digest: Digest, tags: Iterable[str]) -> Deleted:
        """Delete a manifest: `port.Store.delete_manifest`."""
        found, refused = self._ask(digest)
        by_tag = seen = False
        for tag in tags:
            seen = True
            if not self._leads_to(tag, digest):
                continue
            _, refused_by_tag = self._ask(tag)
            if self._leads_to(tag, digest):
                raise refused or refused_by_tag or kept_all_the_same(self._subject(tag))
            by_tag = True
        if (refused or not seen) and not by_tag and self._leads_to(digest, digest):
            raise refused or kept_all_the_same(self._subject(digest))
        return Deleted(found or by_tag, by_tag)

    def _ask(self, reference: str) -> tuple[bool, RefusedError | None]:
        """Ask for a deletion; return whether the registry says that it did it, and its refusal if it never does."""
        answer = self._transport.call(Request("DELETE", self._url + reference), self._delete)
        if answer.status in _NOT_OFFERED:
            return False, deletion_refusal(answer.problem(), self._subject(reference))
        if answer.status not in (200, 202, 204, 404):
            raise self._judge(answer, reference)
        answer.discard()
        return answer.status != 404, None

    def _leads_to(self, reference: str, digest: Digest) -> bool:
        """Say whether a tag, or a digest, leads to a manifest."""
        answer = self._transport.call(Request("HEAD", self._url + reference, ACCEPT), self._pull)
        answer.discard()
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._judge(answer, reference)
        said = answer.headers.get("Docker-Content-Digest", "")
        if _algorithm(said) == _algorithm(digest):
            return said == digest
        manifest = self._get(reference)
        return manifest is not None and manifest.digest == digest


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]
