"""The effects that a resolution asks for, and the answers that it ends with.

A resolution is a generator without I/O. It yields an effect (`GetObject`, `AskResolver`, `PinDigest`, `ReadBundle`), is
sent the result, and returns the answer to the request. It depends on objects alone, so that it can be restarted at any
time: after a restart, on another event, in a second controller. The answer is the same
(docs/decisions/two-controllers.md).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.controlplane.launch_run import condition_of
from agent.tekton.controlplane.nested_request import FetchedObject
from agent.tekton.model.events import LOOKED_UP
from agent.tekton.model.fields import Object, mapping, text
from agent.tekton.pipeline.installation import Installation

LARGEST = 900_000
"""Bytes of an answer. With base64 it stays below the limit of etcd, about 1.5 MiB."""

EARLY = 5
"""Seconds before Tekton's deadline at which a request is refused with the reason."""


@dataclass(frozen=True, slots=True)
class GetObject:
    """Get a PipelineRun, Pipeline, Task or StepAction of the namespace. Result: the object or None."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AskResolver:
    """Create a request to another resolver, unless it exists. Result: the request as it is now."""

    request: Object


@dataclass(frozen=True, slots=True)
class PinDigest:
    """Resolve an image to the digest of the manifest for one platform. Result: the reference with the digest."""

    image: str


@dataclass(frozen=True, slots=True)
class ReadBundle:
    """Read the objects of a bundle, for an error message. Result: the members, None if it cannot be read."""

    place: str


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """The answer to a request.

    Attributes:
        status: a merge patch for the request's `status`.
        refusal: the reason of a refusal, None if the answer is an object.
        notice: the message of an event on the run, None for no event.
        reason: the reason of that event.
    """

    status: dict[str, Any]
    refusal: str | None = None
    notice: str | None = None
    reason: str = LOOKED_UP


@dataclass(frozen=True, slots=True)
class WaitForResolver:
    """Another resolver has not answered yet. Requeue the request when it has, at the latest after these seconds."""

    resolver: str
    seconds: float


Effect = GetObject | AskResolver | PinDigest | ReadBundle
Resolution = Generator[Effect, Any, RequestAnswer | WaitForResolver | None]


def is_answered(request: Object) -> bool:
    """Return whether a ResolutionRequest has data or a final condition."""
    status = mapping(request, "status", "ResolutionRequest")
    return bool(status.get("data")) or condition_of(request).get("status") in ("True", "False")


def refuse(message: str, now: str) -> RequestAnswer:
    """Return a refusal, with the message that the run will show."""
    condition = {
        "type": "Succeeded",
        "status": "False",
        "reason": "ResolutionFailed",
        "message": message,
        "lastTransitionTime": now,
    }
    # The CRD requires the other three fields.
    return RequestAnswer({"data": "", "refSource": {}, "source": {}, "conditions": [condition]}, refusal=message)


def seconds_left(request: Object, installation: Installation, now: str) -> float:
    """Return the seconds that a request can wait before it must be refused."""
    created = text(mapping(request, "metadata", "ResolutionRequest"), "creationTimestamp", "ResolutionRequest") or now
    age = (datetime.fromisoformat(now) - datetime.fromisoformat(created)).total_seconds()
    return installation.deadline - EARLY - age


def answered(value: Object, source: FetchedObject, notice: str | None = None) -> RequestAnswer:
    """Return the answer with an object, and the origin of its source.

    Raises:
        UnwrappableError: the object is larger than Kubernetes stores.
    """
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) > LARGEST:
        kind = value["kind"]
        raise UnwrappableError(
            f"as an answer it has {len(data)} bytes, and Kubernetes stores no more than {LARGEST}",
            subject=f"{kind} {text(mapping(value, 'metadata', kind), 'name', kind)}",
            remedy="split it, or refer to Tasks instead of writing them into it",
        )
    return RequestAnswer(
        {
            "data": b64encode(data).decode(),
            "refSource": source.origin,
            "source": source.origin,
            "annotations": {"resolution.tekton.dev/content-type": "application/x-yaml"},
        },
        notice=notice,
    )
