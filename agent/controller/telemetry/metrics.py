"""What the controller counts, for Prometheus. The one home of its client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one controller; docs/reference/controller.md lists them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "instep_api_requests", "Answers of the API server", ["verb", "status"], registry=self._registry
        )
        self._turns = Histogram(
            "instep_turn_seconds",
            "How long a look at an object took",
            ["resource"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._failures = Counter(
            "instep_turn_failures", "Looks that failed and are repeated", ["resource"], registry=self._registry
        )
        self._answers = Counter(
            "instep_resolutions", "ResolutionRequests answered", ["outcome"], registry=self._registry
        )
        self._launches = Counter("instep_launches", "PipelineRuns created for CustomRuns", registry=self._registry)
        self._ends = Counter("instep_runs_ended", "CustomRuns that ended", ["outcome"], registry=self._registry)
        self._reviews = Counter(
            "instep_reviews", "Runs that the webhook reviewed", ["outcome"], registry=self._registry
        )
        self._field = Gauge(
            "instep_lookup_field_active", "Whether the CRDs have the field spec.lookup", registry=self._registry
        )
        self._ready = Gauge("instep_ready", "Whether the controller sees all that it serves", registry=self._registry)
        self._failing = Gauge(
            "instep_failing_requests",
            "Requests to the API server that fail now",
            ["verb", "resource", "status"],
            registry=self._registry,
        )
        self._events = Counter(
            "instep_step_failures", "Failed steps that events tell of", ["code"], registry=self._registry
        )
        self._conflicts = Counter(
            "instep_workspace_conflicts", "Conflicts between changes that events report", registry=self._registry
        )
        self._waiting = Gauge("instep_waiting_objects", "Objects that wait for a look", registry=self._registry)

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Have the number of waiting objects read whenever metrics are."""
        self._waiting.set_function(count)

    def watch_ready(self, is_ready: Callable[[], bool]) -> None:
        """Have the readiness read whenever metrics are."""
        self._ready.set_function(is_ready)

    def failing(self, found: Mapping[tuple[str, str, str], int]) -> None:
        """Say which requests fail now, by verb, resource and status, and in how many namespaces."""
        self._failing.clear()
        for labels, count in found.items():
            self._failing.labels(*labels).set(count)

    def step_failure(self, code: int) -> None:
        """Count a failed step of ours that an event tells of."""
        self._events.labels(str(code)).inc()

    def conflicts(self, count: int) -> None:
        """Count the conflicts that a new event reports."""
        self._conflicts.inc(count)

    def request(self, verb: str, status: int) -> None:
        """Count an answer of the API server; status 0 for none."""
        self._requests.labels(verb, str(status)).inc()

    def turn(self, resource: str, seconds: float) -> None:
        """Count a look at an object."""
        self._turns.labels(resource).observe(seconds)

    def failure(self, resource: str) -> None:
        """Count a look that failed."""
        self._failures.labels(resource).inc()

    def answer(self, *, refused: bool) -> None:
        """Count an answer of the resolver."""
        self._answers.labels("refused" if refused else "answered").inc()

    def launch(self) -> None:
        """Count a PipelineRun that was created."""
        self._launches.inc()

    def end(self, outcome: str) -> None:
        """Count a CustomRun that ended: `succeeded`, `failed`, `cancelled` or `timed-out`."""
        self._ends.labels(outcome).inc()

    def review(self, *, refused: bool) -> None:
        """Count an answer of the webhook."""
        self._reviews.labels("refused" if refused else "admitted").inc()

    def field(self, *, active: bool) -> None:
        """Say whether the field `spec.lookup` is there."""
        self._field.set(active)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
