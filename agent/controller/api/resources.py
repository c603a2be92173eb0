"""The kinds of objects that the controller reads and writes, and the paths of the Kubernetes API for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects, by its apiVersion and its plural name."""

    api_version: str
    plural: str

    def selector(self) -> tuple[str, str, str]:
        """Return group, version and plural name."""
        group, _, version = self.api_version.partition("/")
        return group, version, self.plural


PIPELINES = Resource("tekton.dev/v1", "pipelines")
TASKS = Resource("tekton.dev/v1", "tasks")
TASK_RUNS = Resource("tekton.dev/v1", "taskruns")
PIPELINE_RUNS = Resource("tekton.dev/v1", "pipelineruns")
CUSTOM_RUNS = Resource("tekton.dev/v1beta1", "customruns")
RUNS = Resource("tekton.dev/v1alpha1", "runs")
STEP_ACTIONS = Resource("tekton.dev/v1beta1", "stepactions")
EVENTS = Resource("v1", "events")
CRDS = Resource("apiextensions.k8s.io/v1", "customresourcedefinitions")
REQUESTS = Resource("resolution.tekton.dev/v1beta1", "resolutionrequests")
