"""One repository of a registry, over HTTP (OCI distribution-spec 1.1; docker registry API v2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import urlencode, urlsplit

from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import RegistryReference
from agent.errors import AgentError, AuthError, RefusedError, UnavailableError
from agent.store.copying import copy_through
from agent.store.login.auth import Authorizer, Grants
from agent.store.login.credentials import find_credentials
from agent.store.manifest_limits import (
    MANIFEST_MAX,
    MANIFEST_TYPES,
    check_reference,
    digest_for,
    is_digest,
    manifest_of,
)
from agent.store.meter import Meter
from agent.store.network.address import Resolve, is_loopback, is_spread, origin_of, resolve_host
from agent.store.network.refusal import is_denial, is_manifest_denial, manifest_refusal, refusal, said
from agent.store.network.retrying import Hopeless, Limits, Patience
from agent.store.network.trust import make_trust
from agent.store.port import Ability, Answered, Deleted, Manifest, Store, Stored
from agent.store.registry.answer import Answer, Request
from agent.store.registry.claims import ACCEPT, Claims
from agent.store.registry.download import Downloads
from agent.store.registry.listing import Listing, Page
from agent.store.registry.transport import Transport
from agent.store.registry.upload import Uploads

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_HUB = ("docker.io", "index.docker.io")
_YES = frozenset({200, 201, 202, 203, 204, 206, 301, 302, 303, 307, 308, 416})
"""Statuses by which a blob is there: 416 says that it is empty, redirects where it is."""
_NO = frozenset({404, 410})


class RegistryStore:
    """One repository; satisfies `port.Store`. Nothing is sent before the first call.

    A loopback registry (localhost, 127.0.0.0/8, ::1) is spoken to without TLS unless `ca_file` is given; any other
    only with TLS unless `plain_http` is given. `docker.io` means Docker Hub, as everywhere.

    Args:
        reference: names the repository; its tag and digest play no part.
        plain_http: no TLS.
        ca_file: PEM file of certificates to trust as well.
        environ: where credentials are looked for.
        patience: of the command that this is part of; without one, a patience of its own.
        limits, resolve: how long a try may take, and name look-up; for tests.

    Raises:
        UsageError: `ca_file` cannot be used.
    """

    def __init__(
        self,
        reference: RegistryReference,
        *,
        plain_http: bool = False,
        ca_file: str | None = None,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        limits: Limits | None = None,
        resolve: Resolve = resolve_host,
    ) -> None:
        host, repository = reference.registry, reference.repository
        if host in _HUB:
            host, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
        variables = dict(environ or {})
        self._name = reference.registry
        self._repository = repository
        self._patience = patience or Patience()
        self._tag = reference.tag or "latest"
        self._meter = Meter()
        self.traffic = self._meter.traffic
        self.is_spread = is_spread(urlsplit(f"//{host}").hostname or "")
        own_trust = make_trust(ca_file, variables) if ca_file is not None else None
        scheme = (
            "http" if plain_http or (ca_file is None and is_loopback(urlsplit(f"//{host}").hostname or "")) else "https"
        )
        self.origin = origin_of(f"{scheme}://{host}/", self._name)
        self._transport = Transport(
            self.origin,
            self._name,
            trust=lambda: own_trust or make_trust(None, variables),
            meter=self._meter,
            limits=limits or Limits(),
            patience=self._patience,
            resolve=resolve,
        )
        self._authorizer = self._transport.authorizer = Authorizer(
            self.origin,
            self._name,
            lambda: find_credentials(variables, reference.registry, repository),
            self._transport.exchange,
            self._patience.timing.clock,
        )
        self._base = f"{scheme}://{host}/v2/{repository}/"
        self._downloads = Downloads(
            self._transport, f"{self._base}blobs/", self._pull, self._meter, self._refusal, self._subject
        )
        self._uploads = Uploads(
            self._transport, f"{self._base}blobs/uploads/", self._push, self._meter, self._has_blob, self._refusal
        )
        self._claims = Claims(
            self._transport,
            f"{self._base}manifests/",
            self._pull,
            self._delete,
            self.get_manifest,
            self._refusal,
            self._subject,
            self._patience.timing,
        )

    def get_manifest(self, reference: str) -> Manifest | None:
        """See `port.Store`. A 404 is not tried again: only the caller knows which tags must be there."""
        request = Request("GET", f"{self._base}manifests/{check_reference(reference)}", ACCEPT)
        answer, data = self._read(request, MANIFEST_MAX)
        if self._is_absent(answer):
            answer.discard()
            self._patience.moved()
            return None
        if data is None:
            raise self._refusal(answer, reference)
        self._meter.add(received=len(data))
        return manifest_of(data, answer.headers.get("Content-Type", ""), reference, self._subject(reference))

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """See `port.Store`."""
        digest = digest_for(data, reference, self._subject(reference))
        headers = {"Content-Type": media_type}
        self._meter.add(sent=len(data))
        answer = self._transport.call(
            Request("PUT", f"{self._base}manifests/{reference}", headers, body=data), self._push
        )
        if answer.status not in (200, 201, 202, 204):
            raise self._put_refusal(answer, reference, data)
        self._claims.check_stored(answer, reference, digest)
        self._patience.moved()
        return digest

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """See `port.Store`. By digest, with all tags (distribution-spec); tag by tag where these live on."""
        deleted = self._claims.delete(digest, tags)
        self._patience.moved()
        return deleted

    def tags(self, prefix: str = "") -> list[str]:
        """See `port.Store`."""
        listing = Listing(f"{self._base}tags/list", self._page, self._patience.timing.clock, self._odd)
        found = sorted((tag for tag in listing.tags() if tag.startswith(prefix)), key=str.encode)
        self._patience.moved()
        return found

    def has_blob(self, digest: Digest) -> bool:
        """See `port.Store`.

        A redirect to a storage is a yes: it is made for a blob that is there. It is not followed, since its signature
        may be good for GET alone. Where HEAD is no way to ask, the first byte is asked for.
        """
        is_there = self._has_blob(digest)
        self._patience.moved()
        return is_there

    def _has_blob(self, digest: Digest) -> bool:
        for request in (
            Request("HEAD", self._blob(digest), satisfied=True),
            Request("GET", self._blob(digest), {"Range": "bytes=0-0"}, satisfied=True),
        ):
            answer = self._transport.call(request, self._pull)
            if answer.status in _YES:
                answer.close() if request.method == "GET" else answer.discard()
                return True
            if answer.status in _NO:
                answer.discard()
                return False
        raise self._refusal(answer, digest)

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `port.Store`. Where a connection breaks, it goes on from there, in a new request."""
        return self._downloads.read(digest, start, length)

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        """See `port.Store`."""
        digest = digest_of(data)
        self._uploads.put(data, digest, new=new)
        return digest

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        """See `port.Store`."""
        return self._uploads.stream(chunks, algorithm=algorithm)

    def check_push(self) -> None:
        """See `port.Store`. An upload is begun and given up again, as every push begins."""
        self._uploads.check()
        self._patience.moved()

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """See `port.Store`. Between repositories of one registry it is mounted where the registry offers that."""
        if self.has_blob(digest):
            return
        location = None
        if isinstance(source, RegistryStore) and source.origin == self.origin:
            mounted, location = self._mount(digest, source)
            if mounted:
                return
        copy_through(lambda chunks, algorithm: self._uploads.stream(chunks, location, algorithm), digest, source)

    def probe(self, ability: Ability, reference: str) -> Answered:
        """See `port.Probing`."""
        from agent.store.registry.probing import Probes

        return Probes(self._transport, self._base, self._repository, self._push).probe(ability, reference)

    def close(self) -> None:
        """See `port.Store`."""
        self._transport.close()

    # What follows is how.

    @property
    def _pull(self) -> Grants:
        return frozenset({(f"repository:{self._repository}", "pull")})

    @property
    def _push(self) -> Grants:
        return self._pull | {(f"repository:{self._repository}", "push")}

    @property
    def _delete(self) -> Grants:
        return self._pull | {(f"repository:{self._repository}", "delete")}

    def _read(self, request: Request, limit: int, is_hopeless: Hopeless | None = None) -> tuple[Answer, bytes | None]:
        """Return the answer and its body, read anew where the connection breaks; None for what is no document."""
        tries = self._transport.tries()
        while True:
            answer = self._transport.call(request, self._pull, is_hopeless)
            if answer.status not in (200, 203) or _is_page(answer):
                return answer, None
            try:
                body = answer.body(limit)
            except UnavailableError as error:
                tries.wait(error, is_hopeless=is_hopeless)
            else:
                tries.moved()
                return answer, body

    def _answers_otherwise(self) -> bool:
        """Say whether the registry answers for a tag: a list that fails then is one that it cannot make."""
        try:
            answer = self._transport.once(Request("HEAD", f"{self._base}manifests/{self._tag}", ACCEPT), self._pull)
        except AgentError:
            return False
        answer.discard()
        return self._transport.failure(answer) is None

    def _page(self, url: str, limit: int) -> Page | None:
        """Return a page of the list of tags: `listing.Read`."""
        if origin_of(url, self._name) != self.origin:
            raise self._odd("its list of tags goes on at another host")
        answer, body = self._read(Request("GET", url), limit, self._answers_otherwise)
        if self._is_absent(answer):
            answer.discard()
            return None
        if body is None:
            raise self._refusal(answer)
        return Page(body, answer.headers.get("Link"))

    def _is_absent(self, answer: Answer) -> bool:
        """Say whether an answer means that something is not there: a 404, with a page for people only of a registry."""
        return answer.status == 404 and (not _is_page(answer) or self._is_registry)

    @cached_property
    def _is_registry(self) -> bool:
        """Whether there is a registry at all (distribution-spec, "Determining Support"), behind whatever proxies."""
        try:
            answer = self._transport.call(Request("GET", f"{self._base.partition('/v2/')[0]}/v2/"), self._pull)
        except AuthError:
            return True
        answer.discard()
        return answer.status in (200, 401, 403) and not _is_page(answer)

    def _blob(self, digest: str) -> str:
        return f"{self._base}blobs/{digest}"

    def _subject(self, reference: str = "") -> str:
        mark = "" if not reference else "@" if is_digest(reference) else ":"
        return f"{self._name}/{self._repository}{mark}{reference}"

    def _mount(self, digest: Digest, source: RegistryStore) -> tuple[bool, str | None]:
        """Ask for `source`'s blob; say whether it is here now, else where a session for it began, if one did."""
        url = f"{self._base}blobs/uploads/?{urlencode({'mount': digest, 'from': source._repository})}"
        try:
            answer = self._transport.call(Request("POST", url), self._push | source._pull)
        except AuthError:  # a token for both repositories is more than a push needs
            return False, None
        if answer.status == 202:
            return False, self._uploads.session_of(answer)[0]
        answer.discard()
        return answer.status in (200, 201, 204) and self.has_blob(digest), None

    def _refusal(self, answer: Answer, reference: str = "") -> AgentError:
        problem = answer.problem()
        subject = self._subject(reference)
        if answer.status < 300:
            what = "with a page for people" if _is_page(answer) else f"{answer.status}, and not what was asked for"
            return self._odd(f"it answers {what}{said(problem)}")
        return self._authorizer.refusal(problem, subject) if is_denial(problem) else refusal(problem, subject)

    def _put_refusal(self, answer: Answer, reference: str, data: bytes) -> AgentError:
        problem = answer.problem()
        subject, on_tag = self._subject(reference), not is_digest(reference)
        if is_manifest_denial(problem, on_tag=on_tag):
            return self._authorizer.refusal(problem, subject)
        return manifest_refusal(problem, subject, data, on_tag=on_tag)

    def _odd(self, what: str) -> RefusedError:
        return RefusedError(f"this is no registry: {what}", subject=self._name, remedy="check the registry's name")


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").lower().startswith("text/html")
