"""config/lookup: the webhook, its service and certificate, and the field in the CRDs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from agent.cli.controller import command
from agent.controller.serve.webhook import PATH
from agent.tekton.frontends.admission import KINDS
from agent.tekton.lookup.lookup import FIELD
from agent.tekton.model.names import LOOKUP_BUNDLE, WRAP
from tests.config.rendering import COMPONENTS, CONFIG, Manifests, lookup_with, named, render
from tests.config.test_manifests import is_restricted, loaded
from tests.controller.test_webhook import NAME

LOOKUP = CONFIG / "lookup"
TEKTONS = "webhook.pipeline.tekton.dev"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """All that config/lookup installs, with all of its components."""
    return render(lookup_with(tmp_path_factory.mktemp("whole"), *COMPONENTS))


def kustomization(directory: Path) -> dict[str, Any]:
    [found] = loaded(directory / "kustomization.yaml")
    return found


def test_nothing_lies_there_that_is_not_installed_or_offered() -> None:
    found = kustomization(LOOKUP)
    files = {"kustomization.yaml", *COMPONENTS, *(name for name in found["resources"] if "/" not in name)}
    assert {path.name for path in LOOKUP.iterdir()} == files
    for name in COMPONENTS:
        component = kustomization(LOOKUP / name)
        assert component["kind"] == "Component"
        files = {"kustomization.yaml", *component["resources"], *component.get("configurations", [])}
        assert {path.name for path in (LOOKUP / name).iterdir()} == files


def test_the_webhook_is_called_before_tektons_for_both_kinds_in_both_versions(whole: Manifests) -> None:
    found = named(whole, "MutatingWebhookConfiguration")
    assert found["metadata"]["name"] < TEKTONS
    [webhook] = found["webhooks"]
    [rule] = webhook["rules"]
    assert rule["apiVersions"] == ["v1", "v1beta1"]
    assert rule["resources"] == [f"{kind.lower()}s" for kind in KINDS]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["sideEffects"] == "None"
    assert webhook["timeoutSeconds"] <= 10


def test_only_runs_that_ask_get_there(whole: Manifests) -> None:
    [webhook] = named(whole, "MutatingWebhookConfiguration")["webhooks"]
    [condition] = webhook["matchConditions"]
    assert f"has(object.spec.{FIELD})" in condition["expression"]
    assert condition["expression"].count(f"'{LOOKUP_BUNDLE}' in ") == 2
    assert condition["expression"].count(f"key.startsWith('{WRAP}')") == 2


def test_webhook_certificate_and_pod_fit_together(whole: Manifests) -> None:
    """What the names are, and that the command in the pod serves what the webhook calls."""
    [webhook] = named(whole, "MutatingWebhookConfiguration")["webhooks"]
    called = webhook["clientConfig"]["service"]
    assert called == {"name": "instep-webhook", "namespace": "instep", "path": PATH}
    assert named(whole, "Certificate")["spec"]["dnsNames"] == [NAME]
    [container] = named(whole, "Deployment", "instep-webhook")["spec"]["template"]["spec"]["containers"]
    given = command.make_context("controller", list(container["args"][1:])).params
    mount = next(found for found in container["volumeMounts"] if found["name"] == "certificate")
    assert given["certificate"] == mount["mountPath"]
    ports = {found["name"]: found["containerPort"] for found in container["ports"]}
    assert given["webhook"] == f"0.0.0.0:{ports['webhook']}"
    assert given["webhook_only"] is True
    assert given["lookup_field"] is True


def test_both_pods_are_of_one_image_and_one_configuration(whole: Manifests) -> None:
    pods = [
        named(whole, "Deployment", name)["spec"]["template"]["spec"] for name in ("instep-controller", "instep-webhook")
    ]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    names = {volume["configMap"]["name"] for pod in pods for volume in pod["volumes"] if volume["name"] == "config"}
    assert len(names) == 1


def test_the_webhooks_pod_is_restricted_and_has_no_rights_but_those_for_the_field(whole: Manifests) -> None:
    pod = named(whole, "Deployment", "instep-webhook")["spec"]["template"]["spec"]
    is_restricted(pod)
    granted = [
        value["roleRef"]["name"]
        for value in whole
        if value["kind"].endswith("Binding")
        and any(subject["name"] == pod["serviceAccountName"] for subject in value["subjects"])
    ]
    assert granted == ["instep-lookup-field"]
    assert pod["automountServiceAccountToken"] is True


def test_without_the_field_the_webhook_has_not_even_a_token(tmp_path: Path) -> None:
    manifests = render(lookup_with(tmp_path))
    pod = named(manifests, "Deployment", "instep-webhook")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "--lookup-field" not in pod["containers"][0]["args"]


def test_the_certificate_of_the_page_is_for_the_service() -> None:
    page = (CONFIG.parent / "docs" / "how-to" / "run-from-a-bundle.md").read_text()
    [line] = [line for line in page.splitlines() if line.startswith("$ openssl req")]
    assert f"subjectAltName=DNS:{NAME}" in shlex.split(line)
