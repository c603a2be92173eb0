"""Errors for users, made of a registry's error responses (distribution-spec, "Error Codes"). Pure.

Registries agree on little here. An immutable tag is 400 TAG_INVALID on ECR, 412 on Harbor, 409 on others, and 405 or
403 DENIED on ACR, which also sends DENIED to an account without rights. So words decide before codes, and codes before
the status. The status decides before the media type of the body: proxies send HTML pages.

If an option helps, the error's remedy names it.
"""

from __future__ import annotations

from agent.errors import AgentError, MissingBlobError, RefusedError, TagRefusedError
from agent.remedy import ANNOTATIONS, NO_ROOM, NO_ZSTD, ODD_ANSWER, PERHAPS_NO_ZSTD, TOO_LARGE, Remedy
from agent.store.network.error_details import ErrorDetails

_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
_DENIED = frozenset({"DENIED", "UNAUTHORIZED"})
_INVALID = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "DIGEST_INVALID", "NAME_INVALID", "SIZE_INVALID"})
_FROZEN = ("immutab", "overwrit", "overrid", "already exist", "locked", "disallowed", "quota")
TO_DELETE = (
    "allow deletion in the registry (CNCF Distribution: REGISTRY_STORAGE_DELETE_ENABLED=true), "
    "or delete the tags by the registry's own means"
)
_TAG_STATUSES = frozenset({400, 403, 405, 409, 412})

_MEDIA_TYPE = (
    "media type",
    "media-type",
    "mediatype",
    "mime",
    "zstd",
    "compression",
    "layer type",
    "unsupported layer",
)
_ANNOTATION = ("annotation",)
_SIZE_CODES = frozenset({"SIZE_INVALID", "MANIFEST_SIZE_INVALID", "MANIFEST_TOO_LARGE"})
_SIZE = ("too large", "too big", "larger than", "exceeds the limit", "exceeds the max", "maximum size")
_FULL = ("quota", "storage limit", "upper limit", "insufficient storage", "no space left", "disk full", "disk is full")
_TLS = ("http request to an https server", "plain http request was sent to https port", "speaking plain http to an ssl")


def is_denial(details: ErrorDetails) -> bool:
    """Return whether an error response is about the account's rights."""
    return details.status in (401, 403) and not details.mentions(*_FULL)


def is_manifest_denial(details: ErrorDetails, *, on_tag: bool) -> bool:
    """Return whether a manifest was not stored because of the account's rights, not because of the tag."""
    if on_tag and details.mentions(*_FROZEN):
        return False
    if details.status != 401 and details.mentions(*_FULL, *_MEDIA_TYPE, *_ANNOTATION, *_SIZE):
        return False
    return details.status == 401 or bool(details.codes & _DENIED) or (details.status == 403 and not on_tag)


def manifest_refusal(details: ErrorDetails, subject: str, manifest: bytes, *, on_tag: bool) -> AgentError:
    """Return the error for a manifest that the registry did not store, for another reason than the account's rights."""
    if details.codes & _MISSING:
        return MissingBlobError(
            f"the manifest names something that is not in the repository{quoted(details)}",
            subject=subject,
            remedy="push again",
        )
    remedy = _option_remedy(details, manifest)
    if remedy is not None:
        return RefusedError(
            f"the registry does not take this image, {details.status}{quoted(details)}", subject=subject, remedy=remedy
        )
    if on_tag and details.status in _TAG_STATUSES and (details.mentions(*_FROZEN) or not details.codes & _INVALID):
        return TagRefusedError(
            f"the registry does not let this tag move, {details.status}{quoted(details)}",
            subject=subject,
            remedy="allow its tags to be overwritten, or use another tag",
        )
    return refusal(details, subject)


def deletion_refusal(details: ErrorDetails, subject: str) -> RefusedError:
    """Return the error for an image that the registry refuses to delete."""
    return RefusedError(
        f"the registry does not delete images, {details.status}{quoted(details)}", subject=subject, remedy=TO_DELETE
    )


def not_deleted(subject: str) -> RefusedError:
    """Return the error for an image that exists after the registry confirmed its deletion."""
    return RefusedError(
        "the registry says that it deleted the image, and it is still there", subject=subject, remedy=TO_DELETE
    )


def not_stored(status: int, subject: str) -> RefusedError:
    """Return the error for a manifest that does not exist after the registry accepted it."""
    return RefusedError(
        f"the registry answers {status}, and what it was given is not there",
        subject=subject,
        remedy=ODD_ANSWER,
    )


def refusal(details: ErrorDetails, subject: str) -> RefusedError:
    """Return the error for a request that the registry refuses."""
    if details.mentions(*_TLS):
        from agent.store.network.certificates import requires_tls  # loads ssl, which a prune of a layout does not need

        return requires_tls(subject)
    what, remedy = _explanation(details)
    return RefusedError(f"{what}{quoted(details)}", subject=subject, remedy=remedy)


def quoted(details: ErrorDetails) -> str:
    """Return the registry's own text in parentheses, to be put behind our message; "" if there is none."""
    return f" ({details.text})" if details.text else ""


def _option_remedy(details: ErrorDetails, manifest: bytes) -> Remedy | None:
    """Return the remedy for an image that a registry does not accept as it is, None if no option helps."""
    if details.status != 415 and not details.codes & _SIZE_CODES and details.mentions(*_FROZEN):
        return None
    if (details.status == 415 or details.mentions(*_MEDIA_TYPE)) and b"+zstd" in manifest:
        return NO_ZSTD
    if details.mentions(*_ANNOTATION):
        return ANNOTATIONS
    if details.status == 413 or details.codes & _SIZE_CODES or details.mentions(*_SIZE):
        return TOO_LARGE
    if "MANIFEST_INVALID" in details.codes and b"+zstd" in manifest:
        return PERHAPS_NO_ZSTD
    return None


def _explanation(details: ErrorDetails) -> tuple[str, str | Remedy]:
    """Return what happened, and the remedy."""
    if details.status == 507 or details.mentions(*_FULL):
        return (
            f"there is no room left for this, {details.status}",
            NO_ROOM,
        )
    if details.mentions("zstd"):
        return f"the registry does not take this, {details.status}", NO_ZSTD
    match details.status:
        case 404:
            return (
                "there is no such repository, or no registry",
                "check the name; some registries want a repository made before the first push",
            )
        case 405:
            return "the registry does not allow this", "check whether it is read-only"
        case 407:
            return "the proxy on the way asks for a login", "put user and password into the proxy's address"
        case 413:
            return (
                "the registry, or a proxy before it, refuses requests of this size, 413",
                "raise the limit of the proxy before the registry",
            )
    return f"the registry answers {details.status}", "check the name and the registry"
