"""The field `spec.lookup` in Tekton's CRDs: added, kept, and told of where it is not there."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import kmock
import pytest
import yaml

from agent.controller.api.kubernetes_client import Cluster as Client
from agent.controller.api.login import login
from agent.controller.background_task import run_in_background
from agent.controller.reconcile.crd_field import keep_field
from agent.controller.telemetry.metrics import Metrics
from agent.tekton.lookup.lookup_field import CRDS, SCHEMA, field_patch
from agent.tekton.model import documents
from tests.fakes.cluster import Cluster, eventually, never
from tests.tekton.schema import CRDS as FILES

RESOURCE = kmock.resource("apiextensions.k8s.io/v1/customresourcedefinitions")
FIELD_RBAC = Path(__file__).parents[2] / "config" / "lookup" / "field" / "rbac.yaml"


def tekton_crd(name: str) -> dict[str, Any]:
    """Return a CRD as Tekton's release has it."""
    file = {"pipelineruns.tekton.dev": "300-pipelinerun.yaml", "taskruns.tekton.dev": "300-taskrun.yaml"}[name]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd: dict[str, Any] = yaml.load((FILES / file).read_bytes(), Loader=loader)
    assert crd["metadata"]["name"] == name
    crd["metadata"]["resourceVersion"] = "7"
    return crd


def spec_of(crd: dict[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][index]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


@pytest.mark.parametrize("name", CRDS)
def test_every_version_gets_the_field_and_nothing_else_changes(name: str) -> None:
    crd = tekton_crd(name)
    test, *steps = field_patch(crd)
    assert test == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    places = [f"/spec/versions/{index}/schema/openAPIV3Schema/properties/spec/properties/lookup" for index in range(2)]
    assert steps == [{"op": "add", "path": place, "value": SCHEMA} for place in places]
    assert {version["name"] for version in crd["spec"]["versions"]} == {"v1", "v1beta1"}


def test_versions_that_have_it_or_take_any_field_stay() -> None:
    crd = tekton_crd("taskruns.tekton.dev")
    spec_of(crd, 0)["properties"]["lookup"] = SCHEMA
    assert [step["path"].split("/")[3] for step in field_patch(crd)[1:]] == ["1"]
    spec_of(crd, 1)["properties"]["lookup"] = {"type": "object"}
    assert field_patch(crd) == []
    # Before 0.70 no field is dropped.
    old = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [{"name": "v1", "schema": {"openAPIV3Schema": old}}, {"name": "v1beta1", "schema": {}}]
    assert field_patch({"metadata": {"name": "n"}, "spec": {"versions": versions}}) == []


def stored(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(cluster.api.objects[RESOURCE, None, name].raw)


def put(cluster: Cluster, crd: dict[str, Any]) -> None:
    cluster.api.objects[RESOURCE, None, crd["metadata"]["name"]] = copy.deepcopy(crd)


def is_active(cluster: Cluster) -> bool:
    return all("lookup" in spec_of(stored(cluster, name), index)["properties"] for name in CRDS for index in (0, 1))


async def test_the_field_is_added_and_comes_back_after_an_upgrade_and_that_is_told(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "instep")
    metrics = Metrics()
    async with cluster, Client(login, metrics.request) as client:
        for name in CRDS:
            put(cluster, tekton_crd(name))
        async with run_in_background(keep_field(client, metrics, pause=0.05)):
            await eventually(lambda: is_active(cluster))
            await eventually(lambda: b"instep_lookup_field_active 1.0" in metrics.text())
            # A first installation is no fault: nothing of it is logged as an error.
            said = len(caplog.records)
            assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
                ("WARNING", "spec.lookup is active")
            ] * 2
            # Tekton is installed again: its CRD has no such field.
            crd = tekton_crd("pipelineruns.tekton.dev")
            put(cluster, crd)
            await eventually(lambda: is_active(cluster))
            assert "spec.lookup was inactive" in caplog.records[said].message
            assert caplog.records[said].levelno == logging.ERROR
        patches = [name for verb, plural, name in cluster.api.log if plural == RESOURCE.plural]
        assert sorted(patches) == ["pipelineruns.tekton.dev", "pipelineruns.tekton.dev", "taskruns.tekton.dev"]
        used = {right for right in cluster.api.used if right[0] != "discover"}
        assert used == {(verb, RESOURCE.group, RESOURCE.plural) for verb in ("get", "patch")}


async def test_who_may_not_change_the_crds_says_so_once_and_says_when_it_may(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The metric shows it all the time."""

    def refuse(request: kmock.Request) -> None:
        raise kmock.KubernetesError(status=403, reason="Forbidden", message="cannot patch resource")

    cluster.api.refuse = refuse
    metrics = Metrics()
    async with cluster, Client(login, metrics.request) as client:
        for name in CRDS:
            put(cluster, tekton_crd(name))
        async with run_in_background(keep_field(client, metrics, pause=0.05)):
            await eventually(lambda: len(caplog.records) == len(CRDS))
            await never(lambda: len(caplog.records) != len(CRDS))
            assert all("spec.lookup may be inactive: PATCH" in record.message for record in caplog.records)
            assert b"instep_lookup_field_active 0.0" in metrics.text()
            assert not is_active(cluster)
            cluster.api.refuse = None
            await eventually(lambda: b"instep_lookup_field_active 1.0" in metrics.text())
            assert [record.message for record in caplog.records[len(CRDS) :]] == ["spec.lookup is active"] * 2


async def test_a_crd_that_changes_meanwhile_is_no_fault(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Tekton's webhook writes its certificate into the CRDs when it starts, which may be now."""
    changes = []

    async def change(request: kmock.Request) -> None:
        if isinstance(request.data, list) and len(changes) < 2:
            changes.append(request.name)
            cluster.api.objects[RESOURCE, None, request.name].patch(
                {"metadata": {"resourceVersion": f"{len(changes)}0"}}
            )

    cluster.api.before_write = change
    metrics = Metrics()
    async with cluster, Client(login, metrics.request) as client:
        for name in CRDS:
            put(cluster, tekton_crd(name))
        async with run_in_background(keep_field(client, metrics, pause=3600)):
            await eventually(lambda: b"instep_lookup_field_active 1.0" in metrics.text())
    assert len(changes) == 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}


async def test_a_cluster_without_the_crds_has_no_field(cluster: Cluster) -> None:
    metrics = Metrics()
    async with cluster, Client(login, metrics.request) as client:
        async with run_in_background(keep_field(client, metrics, pause=0.05)):
            await eventually(lambda: cluster.api.used)
        assert b"instep_lookup_field_active 0.0" in metrics.text()


def test_the_rights_of_the_manifest_are_for_these_two_alone() -> None:
    [role] = [value for value in documents.read(FIELD_RBAC.read_text(), "rbac") if value["kind"] == "ClusterRole"]
    [rule] = role["rules"]
    assert rule["resourceNames"] == list(CRDS)
    assert rule["verbs"] == ["get", "patch"]
    assert rule["apiGroups"] == [RESOURCE.group]
    assert rule["resources"] == [RESOURCE.plural]
