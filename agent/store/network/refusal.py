"""What a registry's refusal means for the user (distribution-spec, "Error Codes"). Pure.

Registries agree on little here. An immutable tag is 400 TAG_INVALID on ECR, 412 on Harbor, 409 on others, and 405 or
403 DENIED on ACR, where DENIED is also what an account without rights gets: so words decide before codes, and codes
before the status. The status decides before the kind of the body: proxies answer with pages for people.

Where an option is the way out, the refusal names it.
"""

from __future__ import annotations

from agent.errors import AgentError, MissingBlobError, RefusedError, TagRefusedError
from agent.remedy import ANNOTATIONS, NO_ROOM, NO_ZSTD, ODD_ANSWER, PERHAPS_NO_ZSTD, TLS, TOO_LARGE, Remedy
from agent.store.network.problem import Problem

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


def is_denial(problem: Problem) -> bool:
    """Say whether a refusal is about the account's rights."""
    return problem.status in (401, 403) and not problem.says(*_FULL)


def is_manifest_denial(problem: Problem, *, on_tag: bool) -> bool:
    """Say whether the refusal to store a manifest is about the account's rights, not about the tag."""
    if on_tag and problem.says(*_FROZEN):
        return False
    if problem.status != 401 and problem.says(*_FULL, *_MEDIA_TYPE, *_ANNOTATION, *_SIZE):
        return False
    return problem.status == 401 or bool(problem.codes & _DENIED) or (problem.status == 403 and not on_tag)


def manifest_refusal(problem: Problem, subject: str, manifest: bytes, *, on_tag: bool) -> AgentError:
    """Return the error for a manifest that the registry did not store, for other reasons than rights."""
    if problem.codes & _MISSING:
        return MissingBlobError(
            f"the manifest names something that is not in the repository{said(problem)}",
            subject=subject,
            remedy="push again",
        )
    remedy = _option(problem, manifest)
    if remedy is not None:
        return RefusedError(
            f"the registry does not take this image, {problem.status}{said(problem)}", subject=subject, remedy=remedy
        )
    if on_tag and problem.status in _TAG_STATUSES and (problem.says(*_FROZEN) or not problem.codes & _INVALID):
        return TagRefusedError(
            f"the registry does not let this tag move, {problem.status}{said(problem)}",
            subject=subject,
            remedy="allow its tags to be overwritten, or use another tag",
        )
    return refusal(problem, subject)


def deletion_refusal(problem: Problem, subject: str) -> RefusedError:
    """Return the error for an image that the registry does not delete."""
    return RefusedError(
        f"the registry does not delete images, {problem.status}{said(problem)}", subject=subject, remedy=TO_DELETE
    )


def kept_all_the_same(subject: str) -> RefusedError:
    """Return the error for an image that is there after the registry said that it deleted it."""
    return RefusedError(
        "the registry says that it deleted the image, and it is still there", subject=subject, remedy=TO_DELETE
    )


def not_kept(status: int, subject: str) -> RefusedError:
    """Return the error for a manifest that is not there after the registry said that it took it."""
    return RefusedError(
        f"the registry answers {status}, and what it was given is not there",
        subject=subject,
        remedy=ODD_ANSWER,
    )


def refusal(problem: Problem, subject: str) -> RefusedError:
    """Return the error for a request that the registry understood and does not fulfil."""
    if problem.says(*_TLS):
        return wants_tls(subject)
    what, remedy = _meaning(problem)
    return RefusedError(f"{what}{said(problem)}", subject=subject, remedy=remedy)


def wants_tls(subject: str) -> RefusedError:
    """Return the error for a registry that speaks TLS and was asked without."""
    return RefusedError(
        "it speaks TLS, and was asked without",
        subject=subject,
        remedy=TLS,
    )


def said(problem: Problem) -> str:
    """Return what the registry itself says, to put behind what it means; "" if it says nothing."""
    return f" ({problem.text})" if problem.text else ""


def _option(problem: Problem, manifest: bytes) -> Remedy | None:
    """Return the remedy for an image that a registry does not take as it is, None where no option helps."""
    if problem.status != 415 and not problem.codes & _SIZE_CODES and problem.says(*_FROZEN):
        return None
    if (problem.status == 415 or problem.says(*_MEDIA_TYPE)) and b"+zstd" in manifest:
        return NO_ZSTD
    if problem.says(*_ANNOTATION):
        return ANNOTATIONS
    if problem.status == 413 or problem.codes & _SIZE_CODES or problem.says(*_SIZE):
        return TOO_LARGE
    if "MANIFEST_INVALID" in problem.codes and b"+zstd" in manifest:
        return PERHAPS_NO_ZSTD
    return None


def _meaning(problem: Problem) -> tuple[str, str | Remedy]:
    """Return what a refusal means, and what to do."""
    if problem.status == 507 or problem.says(*_FULL):
        return (
            f"there is no room left for this, {problem.status}",
            NO_ROOM,
        )
    if problem.says("zstd"):
        return f"the registry does not take this, {problem.status}", NO_ZSTD
    match problem.status:
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
    return f"the registry answers {problem.status}", "check the name and the registry"
