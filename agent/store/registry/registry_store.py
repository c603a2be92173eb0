"""One repository of a registry, over HTTP (OCI distribution-spec 1.1; docker registry API v2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import RegistryReference
from agent.errors import AuthError
from agent.store.blob_copy import copy_through
from agent.store.http.message import Request
from agent.store.http.sender import Sender
from agent.store.http.transport import Transport
from agent.store.login.authorizer import Authorizer
from agent.store.login.challenge import Grants
from agent.store.login.credential_files import find_credentials
from agent.store.manifest_checks import check_reference, digest_for, verified_manifest
from agent.store.network.address import Origin, Resolve, is_loopback, is_replicated, origin_of, resolve_host
from agent.store.network.certificates import make_tls_context
from agent.store.network.retrying import Limits, Patience
from agent.store.port import Ability, Deleted, Manifest, ProbeResult, Store, Stored
from agent.store.registry.document_reader import DocumentReader
from agent.store.registry.download import Downloads
from agent.store.registry.manifest_verifier import ManifestVerifier
from agent.store.registry.registry_errors import RegistryErrors
from agent.store.registry.tag_list import TagList
from agent.store.registry.upload import Uploads
from agent.store.traffic_counter import TrafficCounter

_HUB = ("docker.io", "index.docker.io")
_BLOB_EXISTS = frozenset({200, 201, 202, 203, 204, 206, 301, 302, 303, 307, 308, 416})
"""Statuses for a blob that exists: 416 means that it is empty, a redirect leads to it."""
_BLOB_MISSING = frozenset({404, 410})


class _Address(NamedTuple):
    """The address of a repository: `base` is `…/v2/NAME/`."""

    origin: Origin
    repository: str
    base: str


class RegistryStore:
    """One repository; satisfies `port.Store`. Nothing is sent before the first call.

    Connections use TLS, unless `plain_http` is given. Those to a loopback registry (localhost, 127.0.0.0/8, ::1) use it
    only if `ca_file` is given. `docker.io` means Docker Hub.

    Args:
        reference: names the repository; its tag and digest are ignored.
        plain_http: use no TLS.
        ca_file: a PEM file of certificates to trust as well.
        environ: the environment, for credentials and certificates.
        patience: the command's; None for one of this store's own.
        limits, resolve: the time for a try, and name look-up; for tests.

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
        variables = dict(environ or {})
        own_context = make_tls_context(ca_file, variables) if ca_file is not None else None
        address = _address_of(
            reference, plain_http or (ca_file is None and is_loopback(_host_name(reference.registry)))
        )
        self.origin, self._repository, self._base = address
        self.is_replicated = is_replicated(self.origin.host)
        self._patience = patience or Patience()
        self._counter = TrafficCounter()
        self.traffic = self._counter.traffic
        sender = Sender(
            self.origin,
            reference.registry,
            make_context=lambda: own_context or make_tls_context(None, variables),
            counter=self._counter,
            limits=limits or Limits(),
            patience=self._patience,
            resolve=resolve,
        )
        self._transport = Transport(sender)
        authorizer = self._transport.authorizer = Authorizer(
            self.origin,
            reference.registry,
            lambda: find_credentials(variables, reference.registry, self._repository),
            self._transport.exchange,
            self._patience.timing.clock,
        )
        self._errors = RegistryErrors(reference.registry, self._repository, authorizer)
        self._prepare_requests(reference.tag or "latest", self._errors)

    def _prepare_requests(self, tag: str, errors: RegistryErrors) -> None:
        """Make the objects that send the requests of one kind each."""
        transport, base = self._transport, self._base
        self._documents = DocumentReader(transport, base, self.origin, tag, self._pull, errors)
        self._downloads = Downloads(transport, f"{base}blobs/", self._pull, self._counter, errors)
        self._uploads = Uploads(transport, f"{base}blobs/uploads/", self._push, self._counter, self._has_blob, errors)
        self._verifier = ManifestVerifier(
            transport, f"{base}manifests/", self._pull, self._delete, self.get_manifest, errors, transport.timing
        )

    def get_manifest(self, reference: str) -> Manifest | None:
        """See `port.Store`. A 404 is not tried again: only the caller knows which tags must exist."""
        found = self._documents.manifest(check_reference(reference))
        if found is None:
            self._patience.progressed()
            return None
        data, content_type = found
        self._counter.add(received=len(data))
        return verified_manifest(data, content_type, reference, self._errors.subject(reference))

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """See `port.Store`."""
        digest = digest_for(data, reference, self._errors.subject(reference))
        headers = {"Content-Type": media_type}
        self._counter.add(sent=len(data))
        response = self._transport.call(
            Request("PUT", f"{self._base}manifests/{reference}", headers, body=data), self._push
        )
        if response.status not in (200, 201, 202, 204):
            raise self._errors.manifest_refusal(response, reference, data)
        self._verifier.check_stored(response, reference, digest)
        self._patience.progressed()
        return digest

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """See `port.Store`. Tags go with the digest (distribution-spec), or one by one if the registry keeps them."""
        deleted = self._verifier.delete(digest, tags)
        self._patience.progressed()
        return deleted

    def tags(self, prefix: str = "") -> list[str]:
        """See `port.Store`."""
        clock = self._patience.timing.clock
        listing = TagList(f"{self._base}tags/list", self._documents.page, clock, self._errors.no_registry)
        found = sorted((tag for tag in listing.tags() if tag.startswith(prefix)), key=str.encode)
        self._patience.progressed()
        return found

    def has_blob(self, digest: Digest) -> bool:
        """See `port.Store`.

        A redirect to a storage means that the blob exists. It is not followed, since its signature may be valid for GET
        alone. If the registry refuses HEAD, the first byte is requested.
        """
        exists = self._has_blob(digest)
        self._patience.progressed()
        return exists

    def _has_blob(self, digest: Digest) -> bool:
        for request in (
            Request("HEAD", self._blob(digest), satisfied=True),
            Request("GET", self._blob(digest), {"Range": "bytes=0-0"}, satisfied=True),
        ):
            response = self._transport.call(request, self._pull)
            if response.status in _BLOB_EXISTS:
                response.close() if request.method == "GET" else response.discard()
                return True
            if response.status in _BLOB_MISSING:
                response.discard()
                return False
        raise self._errors.refusal(response, digest)

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `port.Store`. If a connection breaks, a new request continues from there."""
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
        """See `port.Store`. An upload is begun, as in every push, and cancelled."""
        self._uploads.check()
        self._patience.progressed()

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """See `port.Store`. Between repositories of one registry the blob is mounted, if the registry offers that."""
        if self.has_blob(digest):
            return
        location = None
        if isinstance(source, RegistryStore) and source.origin == self.origin:
            mounted, location = self._mount(digest, source)
            if mounted:
                return
        copy_through(lambda chunks, algorithm: self._uploads.stream(chunks, location, algorithm), digest, source)

    def probe(self, ability: Ability, reference: str) -> ProbeResult:
        """See `port.Probing`."""
        from agent.store.registry.probing import Probes

        return Probes(self._transport, self._base, self._repository, self._push).probe(ability, reference)

    def close(self) -> None:
        """See `port.Store`."""
        self._transport.close()

    @property
    def _pull(self) -> Grants:
        return frozenset({(f"repository:{self._repository}", "pull")})

    @property
    def _push(self) -> Grants:
        return self._pull | {(f"repository:{self._repository}", "push")}

    @property
    def _delete(self) -> Grants:
        return self._pull | {(f"repository:{self._repository}", "delete")}

    def _blob(self, digest: str) -> str:
        return f"{self._base}blobs/{digest}"

    def _mount(self, digest: Digest, source: RegistryStore) -> tuple[bool, str | None]:
        """Mount `source`'s blob; return whether that succeeded, else the session that the registry began, if any."""
        url = f"{self._base}blobs/uploads/?{urlencode({'mount': digest, 'from': source._repository})}"
        try:
            response = self._transport.call(Request("POST", url), self._push | source._pull)
        except AuthError:  # a push works without a token for both repositories
            return False, None
        if response.status == 202:
            return False, self._uploads.sessions.begun(response)[0]
        response.discard()
        return response.status in (200, 201, 204) and self.has_blob(digest), None


def _address_of(reference: RegistryReference, is_plain: bool) -> _Address:
    """Return the address of a reference's repository, with http if `is_plain`."""
    host, repository = reference.registry, reference.repository
    if host in _HUB:
        host, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
    root = f"{'http' if is_plain else 'https'}://{host}/"
    return _Address(origin_of(root, reference.registry), repository, f"{root}v2/{repository}/")


def _host_name(registry: str) -> str:
    return urlsplit(f"//{registry}").hostname or ""
