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
"""Bytes of an answer: with base64 it stays below what etcd takes, about 1.5 MiB."""

EARLY = 5
"""Seconds before Tekton's deadline at which the answer is that there is none, in words that say why."""


@dataclass(frozen=True, slots=True)
class GetObject:
    """A PipelineRun, Pipeline, Task or StepAction of the request's namespace. Send it, None if there is none."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AskResolver:
    """Another resolver is asked. Send the request as it stands, created now if it was not there."""

    request: Object


@dataclass(frozen=True, slots=True)
class PinDigest:
    """Send the digest that an image has now, of the manifest for one platform."""

    image: str


@dataclass(frozen=True, slots=True)
class ReadBundle:
    """Send what a bundle holds, None if that cannot be told: it is for a message only."""

    place: str


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """A merge patch for the request's `status`, for good or ill.

    Attributes:
        refusal: why not, None where the answer is an object.
        notice: what to tell the run in an event.
        reason: of that event.
    """

    status: dict[str, Any]
    refusal: str | None = None
    notice: str | None = None
    reason: str = LOOKED_UP


@dataclass(frozen=True, slots=True)
class WaitForResolver:
    """Another resolver has not answered yet: begin again when it has, and at the latest after these seconds."""

    resolver: str
    seconds: float


Effect = GetObject | AskResolver | PinDigest | ReadBundle
Resolution = Generator[Effect, Any, RequestAnswer | WaitForResolver | None]


def is_answered(request: Object) -> bool:
    """Say whether a ResolutionRequest has data or a final condition."""
    status = mapping(request, "status", "ResolutionRequest")
    return bool(status.get("data")) or condition_of(request).get("status") in ("True", "False")


def refuse(message: str, now: str) -> RequestAnswer:
    """Return the answer that there is none, with the message that the run will show."""
    condition = {
        "type": "Succeeded",
        "status": "False",
        "reason": "ResolutionFailed",
        "message": message,
        "lastTransitionTime": now,
    }
    # The CRD demands the other three.
    return RequestAnswer({"data": "", "refSource": {}, "source": {}, "conditions": [condition]}, refusal=message)


def seconds_left(request: Object, installation: Installation, now: str) -> float:
    """Return how long a request can wait before it has to be refused in words."""
    created = text(mapping(request, "metadata", "ResolutionRequest"), "creationTimestamp", "ResolutionRequest") or now
    age = (datetime.fromisoformat(now) - datetime.fromisoformat(created)).total_seconds()
    return installation.deadline - EARLY - age


def answered(value: Object, source: FetchedObject, notice: str | None = None) -> RequestAnswer:
    """Return the answer that is an object, with the origin of what it was made from.

    Raises:
        UnwrappableError: it is larger than Kubernetes stores.
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
