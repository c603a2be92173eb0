"""Answers ResolutionRequests: takes the steps that `agent.tekton.controlplane.resolution` asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, assert_never

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import EVENTS, PIPELINE_RUNS, PIPELINES, REQUESTS, STEP_ACTIONS, TASKS
from agent.controller.reconcile.work_queue import AGAIN_S, Key
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError
from agent.tekton.controlplane.effects import Answer, Ask, Course, Get, Held, Pin, Step, Waiting, seconds_left
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.controlplane.resolution import resolve
from agent.tekton.model.events import event
from agent.tekton.model.fields import Object
from agent.tekton.pipeline.installation import Installation
from agent.tekton.requests.bundle_image import Member

KINDS = {"PipelineRun": PIPELINE_RUNS, "Pipeline": PIPELINES, "Task": TASKS, "StepAction": STEP_ACTIONS}


class Resolver:
    """The resolvers `wrap` and `lookup`."""

    def __init__(
        self,
        cluster: Cluster,
        installation: Installation,
        pin: Callable[[str], Awaitable[str]],
        held: Callable[[str], Awaitable[Sequence[Member] | None]],
        clock: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._installation = installation
        self._pin = pin
        self._held = held
        self._clock = clock
        self._metrics = metrics

    async def look(self, key: Key) -> float | None:
        """Answer a request, unless it is answered, or waits for another resolver.

        Raises:
            AgentError: the API server or a registry is away, and there is time left to try again.
        """
        request = await self._cluster.get(REQUESTS, key.namespace, key.name)
        if request is None:
            return None
        outcome = await self._walk(request, resolve(request, self._installation, self._clock()))
        if isinstance(outcome, Answer):
            if not await self._cluster.patch_status(REQUESTS, request, outcome.status):
                return AGAIN_S
            self._metrics.answer(refused=outcome.refusal is not None)
            if outcome.notice is not None:
                await self._tell(request, outcome)
        return outcome.seconds if isinstance(outcome, Waiting) else None

    async def _tell(self, request: Object, outcome: Answer) -> None:
        """Tell the run in an event, at most once: who cannot be told has its annotation."""
        try:
            owner: Object | None = request
            while owner is not None and controller_of(owner).get("kind") == "ResolutionRequest":
                owner = await self._cluster.get(
                    REQUESTS, request["metadata"]["namespace"], str(controller_of(owner).get("name"))
                )
            if owner is not None:
                meta, run = request["metadata"], controller_of(owner)
                # A request is never answered twice, so that its name tells the run once, also from two controllers.
                told = event(meta["name"], meta["namespace"], run, outcome.reason, outcome.notice or "", self._clock())
                await self._cluster.create(EVENTS, told)
        except AgentError as error:
            LOGGER.warning("%s", error, extra={"about": {"event": outcome.notice}})

    async def _walk(self, request: Object, course: Course) -> Answer | Waiting | None:
        try:
            step = next(course)
            while True:
                try:
                    found = await self._take(step, request)
                except AgentError as error:
                    if error.retryable and seconds_left(request, self._installation, self._clock()) > 0:
                        raise
                    step = course.throw(error)
                else:
                    step = course.send(found)
        except StopIteration as end:
            outcome: Answer | Waiting | None = end.value
            return outcome

    async def _take(self, step: Step, request: Object) -> Any:
        namespace = request["metadata"]["namespace"]
        match step:
            case Get(kind, name):
                return await self._cluster.get(KINDS[kind], namespace, name)
            case Ask(nested):
                return await self._ask(nested)
            case Pin(image):
                return await self._pin(image)
            case Held(place):
                return await self._held(place)
            case _:
                assert_never(step)

    async def _ask(self, nested: Object) -> Object:
        meta = nested["metadata"]
        found = await self._cluster.get(REQUESTS, meta["namespace"], meta["name"])
        if found is None:
            await self._cluster.create(REQUESTS, nested)
        return found or nested
