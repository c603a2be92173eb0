"""The reconciler of ResolutionRequests: performs the effects of a resolution, and writes its answer.

The resolution is `agent.tekton.controlplane.resolution`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import EVENTS, PIPELINE_RUNS, PIPELINES, REQUESTS, STEP_ACTIONS, TASKS
from agent.controller.reconcile.work_queue import REQUEUE_S, Key
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError
from agent.tekton.controlplane.effects import (
    AskResolver,
    Effect,
    GetObject,
    PinDigest,
    ReadBundle,
    RequestAnswer,
    Resolution,
    WaitForResolver,
    seconds_left,
)
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.controlplane.resolution import resolve
from agent.tekton.model.events import event
from agent.tekton.model.fields import Object
from agent.tekton.pipeline.installation import Installation
from agent.tekton.requests.bundle_image import Member

KINDS = {"PipelineRun": PIPELINE_RUNS, "Pipeline": PIPELINES, "Task": TASKS, "StepAction": STEP_ACTIONS}


@dataclass(frozen=True, slots=True)
class Resolver:
    """Answers the requests of the resolvers `wrap` and `lookup`.

    Attributes:
        resolve_digest: returns an image's reference with its digest.
        read_members: returns the objects of a bundle, None if it cannot be read.
        clock: returns the time, RFC 3339 in UTC.
    """

    cluster: Cluster
    installation: Installation
    resolve_digest: Callable[[str], Awaitable[str]]
    read_members: Callable[[str], Awaitable[Sequence[Member] | None]]
    clock: Callable[[], str]
    metrics: Metrics

    async def reconcile(self, key: Key) -> float | None:
        """Answer a request, unless it has an answer. Return the seconds until it is requeued, or None.

        Raises:
            AgentError: the API server or a registry is unavailable, and there is time left for a retry.
        """
        request = await self.cluster.get(REQUESTS, key.namespace, key.name)
        if request is None:
            return None
        outcome = await self._perform_all(request, resolve(request, self.installation, self.clock()))
        if isinstance(outcome, RequestAnswer):
            if not await self.cluster.patch_status(REQUESTS, request, outcome.status):
                return REQUEUE_S
            self.metrics.answer(refused=outcome.refusal is not None)
            if outcome.notice is not None:
                await self._create_event(request, outcome)
        return outcome.seconds if isinstance(outcome, WaitForResolver) else None

    async def _create_event(self, request: Object, outcome: RequestAnswer) -> None:
        """Create an event on the run that a request belongs to. An error is only logged: the run has an annotation."""
        try:
            owner: Object | None = request
            while owner is not None and controller_of(owner).get("kind") == "ResolutionRequest":
                owner = await self.cluster.get(
                    REQUESTS, request["metadata"]["namespace"], str(controller_of(owner).get("name"))
                )
            if owner is not None:
                meta, run = request["metadata"], controller_of(owner)
                # A request has one answer. An event with its name exists at most once, also with two controllers.
                created = event(
                    meta["name"], meta["namespace"], run, outcome.reason, outcome.notice or "", self.clock()
                )
                await self.cluster.create(EVENTS, created)
        except AgentError as error:
            LOGGER.warning("%s", error, extra={"about": {"event": outcome.notice}})

    async def _perform_all(self, request: Object, resolution: Resolution) -> RequestAnswer | WaitForResolver | None:
        try:
            effect = next(resolution)
            while True:
                try:
                    found = await self._perform(effect, request)
                except AgentError as error:
                    if error.retryable and seconds_left(request, self.installation, self.clock()) > 0:
                        raise
                    effect = resolution.throw(error)
                else:
                    effect = resolution.send(found)
        except StopIteration as end:
            outcome: RequestAnswer | WaitForResolver | None = end.value
            return outcome

    async def _perform(self, effect: Effect, request: Object) -> Any:
        namespace = request["metadata"]["namespace"]
        match effect:
            case GetObject(kind, name):
                return await self.cluster.get(KINDS[kind], namespace, name)
            case AskResolver(nested):
                return await self._ask(nested)
            case PinDigest(image):
                return await self.resolve_digest(image)
            case ReadBundle(place):
                return await self.read_members(place)
            case _:
                assert_never(effect)

    async def _ask(self, nested: Object) -> Object:
        meta = nested["metadata"]
        found = await self.cluster.get(REQUESTS, meta["namespace"], meta["name"])
        if found is None:
            await self.cluster.create(REQUESTS, nested)
        return found or nested
