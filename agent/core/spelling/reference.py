"""Image references: `registry/repo:tag`, `registry/repo@digest`, `oci:PATH:TAG` (distribution/reference grammar)."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError, InvalidReferenceError

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")


class RegistryReference(NamedTuple):
    """An image in a registry. `tag` or `digest` is set, both may be."""

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


class LayoutReference(NamedTuple):
    """An image in an OCI image layout, a directory on disk (image-spec, image-layout.md)."""

    path: str
    tag: str | None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"oci:{self.path}{tag}{digest}"


Reference = RegistryReference | LayoutReference


def is_tag(text: str) -> bool:
    """Return whether `text` is a valid tag (distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


def parse_reference(text: str) -> Reference:
    """Return the reference that `text` spells; without a tag or digest it is `latest`.

    The registry must be named: a name without a dot, a port or `localhost` in its first part is refused rather
    than sent to a default registry, because a workspace must never reach a public registry by a missing word.

    Raises:
        InvalidReferenceError: `text` is no reference.
    """
    if text.startswith("oci:"):
        return _parse_layout(text)
    rest, digest = _split_digest(text)
    registry, slash, rest = rest.partition("/")
    if not slash or not _looks_like_host(registry):
        raise _invalid(text, "it names no registry")
    if not _HOST.fullmatch(registry):
        raise _invalid(text, "its registry is no host name")
    repository, colon, tag = rest.partition(":")
    if len(repository) > 255 or not _REPOSITORY.fullmatch(repository):
        raise _invalid(text, "its repository may hold lower case letters, digits and single separators only")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, "its tag is not of [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
    return RegistryReference(registry, repository, tag if colon else (None if digest else "latest"), digest)


def _parse_layout(text: str) -> LayoutReference:
    rest, digest = _split_digest(text.removeprefix("oci:"))
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, colon, tag = rest, "", ""
    if not path or "\0" in path:
        raise _invalid(text, "it names no directory")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, "its tag is not of [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
    return LayoutReference(path, tag if colon else (None if digest else "latest"), digest)


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return text, None
    try:
        return rest, parse_digest(digest)
    except IntegrityError as error:
        raise _invalid(text, "what follows @ is no digest") from error


def _looks_like_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost"


def _invalid(text: str, why: str) -> InvalidReferenceError:
    return InvalidReferenceError(
        f"not an image reference: {why}",
        subject=repr(text)[:200],
        remedy="write registry/repository:tag or oci:DIRECTORY:TAG",
    )
