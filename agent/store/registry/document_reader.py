"""Reads whole documents of a repository: manifests, and pages of the list of tags."""

from __future__ import annotations

from functools import cached_property

from agent.errors import AgentError, AuthError, UnavailableError
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.manifest_checks import MANIFEST_MAX, MANIFEST_TYPES
from agent.store.network.address import Origin, origin_of
from agent.store.network.retrying import IsPermanent
from agent.store.registry.registry_errors import RegistryErrors, is_page
from agent.store.registry.tag_list import Page

ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}


class DocumentReader:
    """Reads documents of one repository. Safe for several threads.

    Args:
        base: the repository's address, `…/v2/NAME/`.
        origin: the registry's.
        tag: a tag by which to test whether the registry works.
        grants: what the requests need.
    """

    def __init__(
        self,
        transport: Transport,
        base: str,
        origin: Origin,
        tag: str,
        grants: Grants,
        errors: RegistryErrors,
    ) -> None:
        self._transport = transport
        self._base = base
        self._origin = origin
        self._tag = tag
        self._grants = grants
        self._errors = errors

    def manifest(self, reference: str) -> tuple[bytes, str] | None:
        """Return a manifest and its Content-Type, None if there is none; at most `MANIFEST_MAX` + 1 bytes.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            RefusedError: the registry refuses, or this is no registry.
        """
        response, data = self._read(Request("GET", f"{self._base}manifests/{reference}", ACCEPT), MANIFEST_MAX)
        if self._is_absent(response):
            response.discard()
            return None
        if data is None:
            raise self._errors.refusal(response, reference)
        return data, response.headers.get("Content-Type", "")

    def page(self, url: str, limit: int) -> Page | None:
        """Return a page of the list of tags, at most `limit` + 1 bytes: `tag_list.Read`."""
        if origin_of(url, self._errors.registry) != self._origin:
            raise self._errors.no_registry("its list of tags goes on at another host")
        response, body = self._read(Request("GET", url), limit, self._answers_otherwise)
        if self._is_absent(response):
            response.discard()
            return None
        if body is None:
            raise self._errors.refusal(response)
        return Page(body, response.headers.get("Link"))

    def _read(
        self, request: Request, limit: int, is_permanent: IsPermanent | None = None
    ) -> tuple[Response, bytes | None]:
        """Return the response and its body, requested again if the connection breaks; None if it is no document."""
        retries = self._transport.retries()
        while True:
            response = self._transport.call(request, self._grants, is_permanent)
            if response.status not in (200, 203) or is_page(response):
                return response, None
            try:
                body = response.body(limit)
            except UnavailableError as error:
                retries.wait(error, is_permanent=is_permanent)
            else:
                retries.progressed()
                return response, body

    def _answers_otherwise(self) -> bool:
        """Return whether the registry answers for a tag: then a list that fails is one that it cannot make."""
        try:
            request = Request("HEAD", f"{self._base}manifests/{self._tag}", ACCEPT)
            response = self._transport.once(request, self._grants)
        except AgentError:
            return False
        response.discard()
        return self._transport.failure(response) is None

    def _is_absent(self, response: Response) -> bool:
        """Return whether something does not exist: a 404. A 404 with an HTML page counts only if it is a registry's."""
        return response.status == 404 and (not is_page(response) or self._is_registry)

    @cached_property
    def _is_registry(self) -> bool:
        """Whether there is a registry at all (distribution-spec, "Determining Support"), perhaps behind proxies."""
        try:
            root = Request("GET", f"{self._base.partition('/v2/')[0]}/v2/")
            response = self._transport.call(root, self._grants)
        except AuthError:
            return True
        response.discard()
        return response.status in (200, 401, 403) and not is_page(response)
