"""The metrics of the controller for Prometheus. The only module that imports its client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one controller (docs/reference/controller.md, "Metrics, health, logs")."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "instep_api_requests", "Responses of the API server", ["verb", "status"], registry=self._registry
        )
        self._reconcile_seconds = Histogram(
            "instep_reconcile_seconds",
            "Duration of the reconcile of an object",
            ["resource"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._reconcile_errors = Counter(
            "instep_reconcile_errors", "Reconciles that failed and are requeued", ["resource"], registry=self._registry
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
        self._ready = Gauge("instep_ready", "Whether the controller is ready", registry=self._registry)
        self._failing = Gauge(
            "instep_failing_requests",
            "Requests to the API server that fail now",
            ["verb", "resource", "status"],
            registry=self._registry,
        )
        self._events = Counter(
            "instep_step_failures", "Failed steps that events report", ["code"], registry=self._registry
        )
        self._conflicts = Counter(
            "instep_workspace_conflicts", "Conflicts between changes that events report", registry=self._registry
        )
        self._depth = Gauge("instep_workqueue_depth", "Objects in the work queue", registry=self._registry)

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Read the number of objects in the work queue at each scrape."""
        self._depth.set_function(depth)

    def watch_ready(self, is_ready: Callable[[], bool]) -> None:
        """Read the readiness at each scrape."""
        self._ready.set_function(is_ready)

    def failing(self, found: Mapping[tuple[str, str, str], int]) -> None:
        """Set the requests that fail now: the number of namespaces by verb, resource and HTTP status."""
        self._failing.clear()
        for labels, count in found.items():
            self._failing.labels(*labels).set(count)

    def step_failure(self, code: int) -> None:
        """Count a failed step that an event reports, by its exit code."""
        self._events.labels(str(code)).inc()

    def conflicts(self, count: int) -> None:
        """Count the conflicts that a new event reports."""
        self._conflicts.inc(count)

    def request(self, verb: str, status: int) -> None:
        """Count a response of the API server; the status is 0 if there was none."""
        self._requests.labels(verb, str(status)).inc()

    def reconciled(self, resource: str, seconds: float) -> None:
        """Record the duration of a reconcile, in seconds."""
        self._reconcile_seconds.labels(resource).observe(seconds)

    def reconcile_error(self, resource: str) -> None:
        """Count a reconcile that failed."""
        self._reconcile_errors.labels(resource).inc()

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
        """Set whether the CRDs have the field `spec.lookup`."""
        self._field.set(active)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
