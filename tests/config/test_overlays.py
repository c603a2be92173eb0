"""Each directory of config/, rendered by a real kustomize: every reference meets its object, whatever is set on top."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.config.references import problems
from tests.config.rendering import COMPONENTS, CONFIG, Manifests, key, lookup_with, named, on_top, render

DIRECTORIES: dict[str, tuple[str, ...] | None] = {
    "cluster": None,
    "namespaced": None,
    "lookup": (),
    "lookup, cert-manager": ("cert-manager",),
    "lookup, field": ("field",),
    "lookup, cert-manager and field": COMPONENTS,
}
TOPS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "another namespace": {"namespace": "tools"},
    "another namespace and names": {"namespace": "tools", "namePrefix": "our-", "nameSuffix": "-2"},
    "labels": {"labels": [{"pairs": {"team": "ci"}, "includeSelectors": True}]},
}


def directory(name: str, place: Path) -> Path:
    components = DIRECTORIES[name]
    return CONFIG / name if components is None else lookup_with(place, *components)


def rendered(name: str, top: str, place: Path) -> tuple[Manifests, str]:
    """Return the manifests, and the namespace that they are meant for."""
    fields = TOPS[top]
    found = directory(name, place)
    namespace = fields.get("namespace", "ci" if name == "namespaced" else "instep")
    return render(on_top(place, found, **fields) if fields else found), namespace


@pytest.mark.sweep(5)
@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("name", DIRECTORIES)
def test_every_reference_meets_its_object(name: str, top: str, tmp_path: Path) -> None:
    manifests, namespace = rendered(name, top, tmp_path)
    assert list(problems(manifests, namespace)) == []


@pytest.mark.parametrize("top", TOPS)
def test_components_may_stand_in_a_directory_on_top(top: str, tmp_path: Path) -> None:
    found = lookup_with(tmp_path)
    components = [f"../config/lookup/{name}" for name in COMPONENTS]
    fields = {"namespace": "instep", **TOPS[top], "components": components}
    manifests = render(on_top(tmp_path, found, **fields))
    assert list(problems(manifests, fields["namespace"])) == []
    assert named(manifests, "Certificate")


@pytest.mark.sweep(5)
@pytest.mark.parametrize("version", ["1.30", "1.33"])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_every_object_is_valid(name: str, version: str, tmp_path: Path) -> None:
    manifests, _ = rendered(name, "as it is", tmp_path)
    for value in manifests:
        if "cert-manager" not in value["apiVersion"]:
            kubernetes_validate.validate(value, version, strict=True)


@pytest.mark.parametrize("name", [name for name in DIRECTORIES if name.startswith("lookup")])
def test_config_cluster_applied_after_config_lookup_changes_nothing(name: str, tmp_path: Path) -> None:
    """`kubectl apply` replaces what it knows by what it is given, so both have to give the same objects."""
    lookup = {key(value): value for value in rendered(name, "as it is", tmp_path)[0]}
    cluster = {key(value): value for value in render(CONFIG / "cluster")}
    assert cluster
    assert {name: lookup[name] for name in cluster} == cluster


def test_config_namespaced_grants_its_rights_in_its_namespace_alone(tmp_path: Path) -> None:
    """What a binding grants, and to whom, as Kubernetes reads it."""
    for top in TOPS:
        (tmp_path / top).mkdir()
        manifests, namespace = rendered("namespaced", top, tmp_path / top)
        assert not [value for value in manifests if value["kind"] in ("ClusterRole", "ClusterRoleBinding", "Namespace")]
        pod = named(manifests, "Deployment")["spec"]["template"]["spec"]
        [subject] = named(manifests, "RoleBinding")["subjects"]
        assert subject == {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": namespace}
        assert named(manifests, "Role")["rules"] == named(render(CONFIG / "cluster"), "ClusterRole")["rules"]


def _first(kind: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Manifests], None]:
    def broken(manifests: Manifests) -> None:
        change(next(value for value in manifests if value["kind"] == kind))

    return broken


BROKEN = {
    "subject": _first("ClusterRoleBinding", lambda value: value["subjects"][0].update(namespace="other")),
    "role": _first("ClusterRoleBinding", lambda value: value["roleRef"].update(name="other")),
    "account": _first("Deployment", lambda value: value["spec"]["template"]["spec"].update(serviceAccountName="x")),
    "selector": _first("Deployment", lambda value: value["spec"]["selector"]["matchLabels"].update(x="y")),
    "two meet": _first("Deployment", lambda value: value["spec"]["selector"]["matchLabels"].clear()),
    "config map": _first("ConfigMap", lambda value: value["metadata"].update(name="other")),
    "service": _first("Service", lambda value: value["metadata"].update(name="other")),
    "service's pods": _first("Service", lambda value: value["spec"]["selector"].update(x="y")),
    "service's port": _first("Service", lambda value: value["spec"]["ports"][0].update(port=80)),
    "pod's port": _first("Service", lambda value: value["spec"]["ports"][0].update(targetPort="http2")),
    "certificate's name": _first("Certificate", lambda value: value["spec"].update(dnsNames=["a.b.svc"])),
    "certificate's secret": _first("Certificate", lambda value: value["spec"].update(secretName="other")),
    "issuer": _first("Issuer", lambda value: value["metadata"].update(name="other")),
    "annotation": _first("MutatingWebhookConfiguration", lambda value: value["metadata"]["annotations"].clear()),
    "namespace": _first("Namespace", lambda value: value["metadata"].update(name="other")),
    "place": _first("Service", lambda value: value["metadata"].update(namespace="other")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """Everything, with all components."""
    return render(lookup_with(tmp_path_factory.mktemp("whole"), *COMPONENTS))


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_reference_would_be_found(fault: str, whole: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.config.references.MADE_BY_HAND", ("instep-registry",))
    manifests = copy.deepcopy(whole)
    assert list(problems(manifests, "instep")) == []
    BROKEN[fault](manifests)
    assert list(problems(manifests, "instep")) != []
