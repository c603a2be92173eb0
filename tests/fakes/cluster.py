"""A Kubernetes API with Tekton's kinds: kmock's emulator, and what it leaves out that the controller counts on.

Added here: uid, resourceVersion and creationTimestamp; a patch that names another resourceVersion than the current one
is refused (409); `status` is written through its subresource alone; objects are checked against Tekton's schemas; the
server can go away and come back at the same address. Not there: label selectors (watchers get more than they asked
for), garbage collection, webhooks.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp.test_utils
import aiohttp.web
import attrs
import kmock

from agent.core.spelling.rfc3339 import format_time
from tests.fakes.secrets import secret
from tests.tekton.schema import problems_of

NAMESPACE = "ci"
GROUPS = {
    "PipelineRun": ("tekton.dev/v1", "pipelineruns"),
    "Pipeline": ("tekton.dev/v1", "pipelines"),
    "Task": ("tekton.dev/v1", "tasks"),
    "TaskRun": ("tekton.dev/v1", "taskruns"),
    "StepAction": ("tekton.dev/v1beta1", "stepactions"),
    "CustomRun": ("tekton.dev/v1beta1", "customruns"),
    "Run": ("tekton.dev/v1alpha1", "runs"),
    "ResolutionRequest": ("resolution.tekton.dev/v1beta1", "resolutionrequests"),
}
PLAYED = "a test"
"""The client by which Tekton and users are played."""

_VERBS = ("create", "get", "list", "patch", "watch")


@attrs.define(kw_only=True)
class Emulator(kmock.KubernetesEmulator):
    """Every request of every client comes through `_handle`."""

    versions: Any = attrs.field(factory=lambda: itertools.count(1), init=False)
    turn: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    refuse: Any = attrs.field(default=None, init=False)
    forbidden: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    """Verbs and resources that nobody but a test has a right to."""
    before_write: Any = attrs.field(default=None, init=False)
    log: list[tuple[str, str, str]] = attrs.field(factory=list, init=False)
    used: set[tuple[str, str, str]] = attrs.field(factory=set, init=False)
    invalid: list[str] = attrs.field(factory=list, init=False)

    async def _handle(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        if request.headers.get("User-Agent", "") != PLAYED:
            verb, group, resource = _right(request)
            if (verb, resource) in self.forbidden:
                words = f'cannot {verb} resource "{resource}" in API group "{group}" at the cluster scope'
                raise kmock.KubernetesError(status=403, reason="Forbidden", message=f'User "instep" {words}')
            self.used.add((verb, group, resource))
        if request.action not in (kmock.action.CREATE, kmock.action.UPDATE):
            return await super()._handle(request)
        what = (request.method.value.lower(), request.resource.plural, request.name or request.data["metadata"]["name"])
        if self.refuse is not None:
            self.refuse(request)
        if self.before_write is not None:
            await self.before_write(request)
        async with self.turn:
            if isinstance(request.data, list):
                return self._json_patch(request)
            if request.action == kmock.action.CREATE:
                self._complete(request)
            else:
                self._check_version(request)
            response = await super()._handle(request)
            self.log.append(what)
            self.invalid += problems_of(self.objects[(request.resource, request.namespace, what[2])].raw)
            return response

    def _complete(self, request: kmock.Request) -> None:
        number = next(self.versions)
        request.data["metadata"] |= {
            "namespace": request.namespace,
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "creationTimestamp": request.data["metadata"].get("creationTimestamp", format_time(time.time_ns())),
            "generation": 1,
        }

    def _json_patch(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        """RFC 6902, with the two operations that are used."""
        key = (request.resource, request.namespace, request.name)
        value = copy.deepcopy(dict(self.objects[key].raw))
        for step in request.data:
            *path, last = step["path"].split("/")[1:]
            place = value
            for part in path:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if step["op"] == "test" and place[last] != step["value"]:
                raise kmock.KubernetesError(status=422, reason="Invalid", message="the server rejected our request")
            if step["op"] == "add":
                place[last] = step["value"]
        value["metadata"]["resourceVersion"] = str(next(self.versions))
        self.objects[key].patch(value)
        self.log.append(("patch", request.resource.plural, request.name))
        return aiohttp.web.json_response(value)

    def _check_version(self, request: kmock.Request) -> None:
        key = (request.resource, request.namespace, request.name)
        if key not in self.objects or self.objects[key].deleted:
            raise kmock.KubernetesObjectNotFoundError
        current = self.objects[key].raw
        wanted = (request.data.get("metadata") or {}).get("resourceVersion")
        if wanted not in (None, current["metadata"]["resourceVersion"]):
            raise kmock.KubernetesError(status=409, reason="Conflict", message="the object has been modified")
        body = {key: value for key, value in request.data.items() if (key == "status") == bool(request.subresource)}
        body["metadata"] = {"resourceVersion": str(next(self.versions))}
        request.data.clear()
        request.data.update(body)


class _Server(aiohttp.test_utils.RawTestServer):
    """Does not wait for those who watch."""

    async def _make_runner(self, **options: Any) -> aiohttp.web.ServerRunner:
        runner = await super()._make_runner(**options)
        runner._shutdown_timeout = 0.05
        return runner


class Cluster:
    """The API server, and what Tekton and users do at it."""

    def __init__(self, place: Path) -> None:
        self.kubeconfig = place / "kubeconfig"
        self.api = Emulator()
        for kind, (api_version, plural) in GROUPS.items():
            if kind != "Run":
                self.have(kind, api_version, plural)
        for core in ("v1/namespaces", "v1/events"):
            self.api.resources[core].verbs = set(_VERBS)
        self.api.resources["apiextensions.k8s.io/v1/customresourcedefinitions"].verbs = set(_VERBS)
        self._server: kmock.Server | None = None
        self._port: int | None = None

    def have_runs(self) -> None:
        """Be a Tekton before 0.47."""
        self.have("Run", *GROUPS["Run"])

    def have_nothing(self) -> None:
        """Be a cluster without Tekton."""
        self.api.resources.clear()

    def have(self, kind: str, api_version: str, plural: str) -> None:
        """Have a kind."""
        self.api.resources[f"{api_version}/{plural}"] = {
            "namespaced": True,
            "kind": kind,
            "singular": kind.lower(),
            "verbs": _VERBS,
            "shortnames": (),
            "categories": (),
            "subresources": ("status",),
        }

    async def __aenter__(self) -> Cluster:
        await self.api.__aenter__()
        await self.come()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.go()
        await self.api.__aexit__(*error)
        assert not self.api.invalid, self.api.invalid

    async def come(self) -> None:
        """Be there, at the address of before."""
        self._server = kmock.Server(self.api, port=self._port, server_cls=_Server, user_agent=PLAYED)
        await self._server.__aenter__()
        self._port = self._server.port
        user = {"name": "u", "user": {"token": secret("token")}}
        context = {"name": "c", "context": {"cluster": "k", "user": "u"}}
        server = {"name": "k", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}
        self.kubeconfig.write_text(
            json.dumps({"clusters": [server], "users": [user], "contexts": [context], "current-context": "c"})
        )

    async def go(self) -> None:
        """Be away: connections break, new ones are refused."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.__aexit__(None, None, None)

    async def create(self, value: dict[str, Any]) -> dict[str, Any]:
        """Do as `kubectl create`; return the object as it is stored."""
        path = _path(value["kind"])
        async with self.api.post(path, json=value) as response:
            assert response.status == 200, await response.text()
        return self.get(value["kind"], value["metadata"]["name"])

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object as it is now, {} if there is none."""
        key = (kmock.resource("/".join(GROUPS[kind])), NAMESPACE, name)
        return {} if key not in self.api.objects or self.api.objects[key].deleted else dict(self.api.objects[key].raw)

    def event(self, name: str) -> dict[str, Any]:
        """Return an event."""
        return dict(self.api.objects[kmock.resource("v1/events"), NAMESPACE, name].raw)

    def written(self, kind: str, name: str) -> int:
        """Return how often an object was created or changed."""
        return [(plural, at) for _, plural, at in self.api.log].count((GROUPS[kind][1], name))

    def names(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind."""
        plural = "events" if kind == "Event" else GROUPS[kind][1]
        return [name for (at, _, name), value in self.api.objects.items() if at.plural == plural and not value.deleted]

    async def report(self, kind: str, name: str, **status: Any) -> None:
        """Write a status, as Tekton's controllers do."""
        async with self.api.patch(f"{_path(kind)}/{name}/status", json={"status": status}) as response:
            assert response.status == 200, await response.text()

    async def change(self, kind: str, name: str, **spec: Any) -> None:
        """Merge-patch a spec."""
        async with self.api.patch(f"{_path(kind)}/{name}", json={"spec": spec}) as response:
            assert response.status == 200, await response.text()

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object, and nothing that it owns."""
        async with self.api.delete(f"{_path(kind)}/{name}") as response:
            assert response.status == 200, await response.text()

    async def end_when_there(self, name: str, status: str, reason: str) -> None:
        """Have a PipelineRun say how it goes, as soon as it is there."""
        await eventually(lambda: self.get("PipelineRun", name))
        await self.end(name, status, reason)

    async def end(self, name: str, status: str, reason: str, **fields: Any) -> None:
        """Have a PipelineRun end, or say how it goes."""
        condition = {"type": "Succeeded", "status": status, "reason": reason, "message": f"it says {reason}"}
        await self.report("PipelineRun", name, conditions=[condition], **fields)


def condition(value: dict[str, Any]) -> tuple[str, str]:
    """Return status and reason of an object's condition."""
    for found in value.get("status", {}).get("conditions", []):
        return found["status"], found["reason"]
    return "", ""


async def eventually(check: Callable[[], Any], within: float = 10.0) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become true in time")


async def never(check: Callable[[], Any], within: float = 0.4) -> None:
    """Wait, and fail if something becomes true meanwhile."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        assert not check()
        await asyncio.sleep(0.01)


def _right(request: kmock.Request) -> tuple[str, str, str]:
    """Return what a client needs for a request: verb, group and resource, `discover` for what everybody may read."""
    if request.action is None or request.resource is None or request.resource.plural is None:
        return "discover", "", ""
    verb = {"fetch": "get", "update": "patch"}.get(request.action.value.lower(), request.action.value.lower())
    subresource = f"/{request.subresource}" if request.subresource else ""
    return verb, request.resource.group, request.resource.plural + subresource


def _path(kind: str) -> str:
    api_version, plural = GROUPS[kind]
    return f"/apis/{api_version}/namespaces/{NAMESPACE}/{plural}"
