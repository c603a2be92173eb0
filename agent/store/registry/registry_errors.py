"""The errors of one repository: names, and what its responses become."""

from __future__ import annotations

from agent.errors import AgentError, RefusedError
from agent.store.http.message import Response
from agent.store.login.authorizer import Authorizer
from agent.store.manifest_checks import is_digest
from agent.store.registry.refusals import is_denial, is_manifest_denial, manifest_refusal, quoted, refusal


class RegistryErrors:
    """Makes errors of the responses of one repository.

    Args:
        registry: its name, as the user wrote it.
        repository: the repository in that registry.
        authorizer: knows the account that was used.
    """

    def __init__(self, registry: str, repository: str, authorizer: Authorizer) -> None:
        self.registry = registry
        self._repository = repository
        self._authorizer = authorizer

    def subject(self, reference: str = "") -> str:
        """Return the name of a tag or digest of the repository, or of the repository itself."""
        mark = "" if not reference else "@" if is_digest(reference) else ":"
        return f"{self.registry}/{self._repository}{mark}{reference}"

    def refusal(self, response: Response, reference: str = "") -> AgentError:
        """Return the error for a response that is not the expected one; reads its body."""
        details = response.error_details()
        subject = self.subject(reference)
        if response.status < 300:
            what = "with a page for people" if is_page(response) else f"{response.status}, and not what was asked for"
            return self.no_registry(f"it answers {what}{quoted(details)}")
        return self._authorizer.refusal(details, subject) if is_denial(details) else refusal(details, subject)

    def manifest_refusal(self, response: Response, reference: str, manifest: bytes) -> AgentError:
        """Return the error for a manifest that was not stored; reads the response's body."""
        details = response.error_details()
        subject, on_tag = self.subject(reference), not is_digest(reference)
        if is_manifest_denial(details, on_tag=on_tag):
            return self._authorizer.refusal(details, subject)
        return manifest_refusal(details, subject, manifest, on_tag=on_tag)

    def no_registry(self, what: str) -> RefusedError:
        """Return the error for a response that no registry would send."""
        return RefusedError(f"this is no registry: {what}", subject=self.registry, remedy="check the registry's name")


def is_page(response: Response) -> bool:
    """Return whether a response is an HTML page, such as that of a proxy or a login form."""
    return response.headers.get("Content-Type", "").lower().startswith("text/html")
