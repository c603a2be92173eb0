"""config/lookup: the webhook, its service and certificate, and the field in the CRDs."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from agent.cli.controller import command
from agent.controller.webhook import PATH
from agent.tekton.admission import KINDS
from agent.tekton.lookup import FIELD
from agent.tekton.names import LOOKUP_BUNDLE, WRAP
from tests.config.test_manifests import CONFIG, NAMESPACE, loaded, objects
from tests.controller.test_webhook import NAME

LOOKUP = CONFIG / "lookup"
COMPONENTS = ("cert-manager", "field")
TEKTONS = "webhook.pipeline.tekton.dev"


def kustomization(directory: Path) -> dict[str, Any]:
    [found] = loaded(directory / "kustomization.yaml")
    return found


def installed() -> list[dict[str, Any]]:
    """Return what config/lookup and its components add."""
    return [
        value
        for directory in (LOOKUP, *(LOOKUP / name for name in COMPONENTS))
        for name in kustomization(directory)["resources"]
        if name != "../cluster"
        for value in loaded(directory / name)
    ]


def one(kind: str) -> dict[str, Any]:
    [found] = [value for value in installed() if value["kind"] == kind]
    return found


def deployment() -> dict[str, Any]:
    """Return the controller's Deployment with all patches applied."""
    found = copy.deepcopy(objects()["Deployment"])
    for directory in (LOOKUP, LOOKUP / "field"):
        for patch in kustomization(directory)["patches"]:
            assert patch["target"] == {"kind": "Deployment", "name": found["metadata"]["name"]}
            for step in _steps(patch["patch"]):
                *path, last = step["path"].split("/")[1:]
                place: Any = found
                for part in path:
                    place = place[int(part)] if isinstance(place, list) else place[part]
                assert (step["op"], last) == ("add", "-")
                place.append(step["value"])
    return found


def _steps(text: str) -> list[dict[str, Any]]:
    import yaml

    steps: list[dict[str, Any]] = yaml.safe_load(text)
    return steps


@pytest.mark.parametrize("version", ["1.30", "1.33"])
def test_every_object_is_valid(version: str) -> None:
    checked = [value for value in [*installed(), deployment()] if "cert-manager" not in value["apiVersion"]]
    assert len(checked) == 5
    for value in checked:
        kubernetes_validate.validate(value, version, strict=True)


def test_nothing_lies_there_that_is_not_installed_or_offered() -> None:
    files = {
        "kustomization.yaml",
        *COMPONENTS,
        *(name for name in kustomization(LOOKUP)["resources"] if "/" not in name),
    }
    assert {path.name for path in LOOKUP.iterdir()} == files
    text = (LOOKUP / "kustomization.yaml").read_text()
    for name in COMPONENTS:
        assert f"# - {name}\n" in text
        found = kustomization(LOOKUP / name)
        assert found["kind"] == "Component"
        assert {path.name for path in (LOOKUP / name).iterdir()} == {"kustomization.yaml", *found["resources"]}


def test_the_webhook_is_called_before_tektons_for_both_kinds_in_both_versions() -> None:
    found = one("MutatingWebhookConfiguration")
    assert found["metadata"]["name"] < TEKTONS
    [webhook] = found["webhooks"]
    [rule] = webhook["rules"]
    assert rule["apiVersions"] == ["v1", "v1beta1"]
    assert rule["resources"] == [f"{kind.lower()}s" for kind in KINDS]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["sideEffects"] == "None"
    assert webhook["timeoutSeconds"] <= 10


def test_only_runs_that_ask_get_there() -> None:
    [webhook] = one("MutatingWebhookConfiguration")["webhooks"]
    [condition] = webhook["matchConditions"]
    assert f"has(object.spec.{FIELD})" in condition["expression"]
    assert condition["expression"].count(f"'{LOOKUP_BUNDLE}' in ") == 2
    assert condition["expression"].count(f"key.startsWith('{WRAP}')") == 2


def test_webhook_service_certificate_and_pod_fit_together() -> None:
    [webhook] = one("MutatingWebhookConfiguration")["webhooks"]
    service = one("Service")
    names = webhook["clientConfig"]["service"]
    assert names == {"name": service["metadata"]["name"], "namespace": NAMESPACE, "path": PATH}
    template = deployment()["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    [port] = service["spec"]["ports"]
    [container] = template["spec"]["containers"]
    by_name = {found["name"]: found["containerPort"] for found in container["ports"]}
    assert port["port"] == 443
    certificate = one("Certificate")
    assert certificate["spec"]["dnsNames"] == [f"{names['name']}.{names['namespace']}.svc"] == [NAME]
    volume = next(found for found in template["spec"]["volumes"] if found["name"] == "webhook")
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    mount = next(found for found in container["volumeMounts"] if found["name"] == "webhook")
    given = command.make_context("controller", list(container["args"][1:])).params
    assert given["certificate"] == mount["mountPath"]
    assert given["webhook"] == f"0.0.0.0:{by_name[port['targetPort']]}"
    assert given["lookup_field"] is True


def test_the_certificate_of_the_page_is_for_the_service() -> None:
    page = (CONFIG.parent / "docs" / "lookup.md").read_text()
    [line] = [line for line in page.splitlines() if line.startswith("$ openssl req")]
    assert f"subjectAltName=DNS:{NAME}" in shlex.split(line)


def test_the_injected_authority_is_that_of_the_certificate() -> None:
    [patch] = kustomization(LOOKUP / "cert-manager")["patches"]
    assert patch["target"]["name"] == one("MutatingWebhookConfiguration")["metadata"]["name"]
    [step] = _steps(patch["patch"])
    name = one("Certificate")["metadata"]["name"]
    assert step["value"] == {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{name}"}


def test_the_account_that_may_change_the_crds_is_the_controllers() -> None:
    binding = one("ClusterRoleBinding")
    assert binding["subjects"] == objects()["ClusterRoleBinding"]["subjects"]
    assert binding["roleRef"]["name"] == one("ClusterRole")["metadata"]["name"]
