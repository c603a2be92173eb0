"""What a registry's refusal means for the user (distribution-spec, "Error Codes"). Pure.

Registries agree on little here. An immutable tag is 400 TAG_INVALID on ECR, 412 on Harbor, 409 on others, and 405 or
403 DENIED on ACR, where DENIED is also what an account without rights gets: so words decide before codes, and codes
before the status.
"""

from __future__ import annotations

from agent.errors import AgentError, MissingBlobError, RefusedError, TagRefusedError
from agent.store.problem import Problem

_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
_DENIED = frozenset({"DENIED", "UNAUTHORIZED"})
_INVALID = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED", "DIGEST_INVALID", "NAME_INVALID", "SIZE_INVALID"})
_FROZEN = ("immutab", "overwrit", "overrid", "already exist", "locked", "disallowed", "quota")
TO_DELETE = (
    "allow deletion in the registry (CNCF Distribution: REGISTRY_STORAGE_DELETE_ENABLED=true), "
    "or delete the tags by the registry's own means"
)
_TAG_STATUSES = frozenset({400, 403, 405, 409, 412})


def is_denial(problem: Problem) -> bool:
    """Say whether a refusal is about the account's rights."""
    return problem.status in (401, 403)


def is_manifest_denial(problem: Problem, *, on_tag: bool) -> bool:
    """Say whether the refusal to store a manifest is about the account's rights, not about the tag."""
    if on_tag and problem.says(*_FROZEN):
        return False
    return problem.status == 401 or bool(problem.codes & _DENIED) or (problem.status == 403 and not on_tag)


def manifest_refusal(problem: Problem, subject: str, *, on_tag: bool) -> AgentError:
    """Return the error for a manifest that the registry did not store, for other reasons than rights."""
    if problem.codes & _MISSING:
        return MissingBlobError(
            f"the manifest names something that is not in the repository{_said(problem)}",
            subject=subject,
            remedy="push again",
        )
    if on_tag and problem.status in _TAG_STATUSES and (problem.says(*_FROZEN) or not problem.codes & _INVALID):
        return TagRefusedError(
            f"the registry does not let this tag move, {problem.status}{_said(problem)}",
            subject=subject,
            remedy="allow its tags to be overwritten, or use another tag",
        )
    return refusal(problem, subject)


def deletion_refusal(problem: Problem, subject: str) -> RefusedError:
    """Return the error for an image that the registry does not delete."""
    return RefusedError(
        f"the registry does not delete images, {problem.status}{_said(problem)}", subject=subject, remedy=TO_DELETE
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
        remedy="use a registry that answers 201 when a manifest is stored; agent doctor tells more",
    )


def refusal(problem: Problem, subject: str) -> RefusedError:
    """Return the error for a request that the registry understood and does not fulfil."""
    if problem.status == 404:
        return RefusedError(
            f"there is no such repository, or no registry{_said(problem)}",
            subject=subject,
            remedy="check the name; some registries want a repository made before the first push",
        )
    if problem.status == 405:
        return RefusedError(
            f"the registry does not allow this{_said(problem)}", subject=subject, remedy="check whether it is read-only"
        )
    if problem.status == 413:
        return RefusedError(
            f"something on the way refuses uploads of this size{_said(problem)}",
            subject=subject,
            remedy="raise the limit of the proxy before the registry",
        )
    return RefusedError(
        f"the registry answers {problem.status}{_said(problem)}",
        subject=subject,
        remedy="check the name and the registry",
    )


def _said(problem: Problem) -> str:
    return f" ({problem.text})" if problem.text else ""
