"""Every reference between manifests, and whether it meets an object: what `problems` returns is what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.controller.serve.webhook import PATH
from tests.config.rendering import Manifests, key

MADE_BY_HAND = ("instep-registry", "instep-webhook")
"""Secrets that the pages have people make."""

CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration")
INJECT = "cert-manager.io/inject-ca-from"


def problems(manifests: Manifests, namespace: str) -> Iterator[str]:
    """Tell what would not work if these were applied."""
    there = {key(value) for value in manifests}
    if len(there) != len(manifests):
        yield "two objects have one name"
    for value in manifests:
        kind, found, name = key(value)
        if found != ("" if kind in CLUSTER_WIDE else namespace):
            yield f"{kind} {name} is in namespace {found!r}"
        if kind == "Namespace" and name != namespace:
            yield f"the namespace made is {name}"
        for reference in _references(value, namespace):
            if reference not in there:
                yield f"{kind} {name} names {reference}, which is not there"
    yield from _pods(manifests)
    yield from _services(manifests)
    yield from _webhooks(manifests, namespace)


def _references(value: dict[str, Any], namespace: str) -> Iterator[tuple[str, str, str]]:
    kind = value["kind"]
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        role = value["roleRef"]
        yield role["kind"], namespace if role["kind"] == "Role" else "", role["name"]
        for subject in value["subjects"]:
            yield subject["kind"], subject.get("namespace", "(none)"), subject["name"]
    if kind == "Deployment":
        pod = value["spec"]["template"]["spec"]
        yield "ServiceAccount", namespace, pod["serviceAccountName"]
        for volume in pod["volumes"]:
            if "configMap" in volume:
                yield "ConfigMap", namespace, volume["configMap"]["name"]
    if kind == "Certificate":
        yield "Issuer", namespace, value["spec"]["issuerRef"]["name"]
    if kind == "MutatingWebhookConfiguration":
        for webhook in value["webhooks"]:
            service = webhook["clientConfig"]["service"]
            yield "Service", service.get("namespace", "(none)"), service["name"]
        inject = value["metadata"].get("annotations", {}).get(INJECT)
        if inject is not None:
            yield "Certificate", *inject.split("/")


def _pods(manifests: Manifests) -> Iterator[str]:
    """Look at selectors, mounts and secrets."""
    secrets = {value["spec"]["secretName"] for value in manifests if value["kind"] == "Certificate"}
    for value in _of(manifests, "Deployment"):
        name = value["metadata"]["name"]
        if (met := _met(manifests, value["spec"]["selector"]["matchLabels"])) != [name]:
            yield f"the selector of Deployment {name} meets the pods of {met}"
        pod = value["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            if mounted != volumes.keys():
                yield f"Deployment {name} mounts {mounted} of {set(volumes)}"
        for volume in volumes.values():
            secret = volume.get("secret", {}).get("secretName")
            if secret is not None and secret not in (*secrets, *MADE_BY_HAND):
                yield f"nobody makes the Secret {secret} of Deployment {name}"


def _services(manifests: Manifests) -> Iterator[str]:
    for service in _of(manifests, "Service"):
        name = service["metadata"]["name"]
        met = _met(manifests, service["spec"]["selector"])
        if len(met) != 1:
            yield f"Service {name} meets the pods of {met}"
            continue
        [pods] = [value for value in _of(manifests, "Deployment") if value["metadata"]["name"] in met]
        ports = {port["name"] for port in pods["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"Service {name} leads to port {port['targetPort']} of {ports}"


def _webhooks(manifests: Manifests, namespace: str) -> Iterator[str]:
    services = {value["metadata"]["name"]: value for value in _of(manifests, "Service")}
    names = set()
    for value in _of(manifests, "MutatingWebhookConfiguration"):
        for webhook in value["webhooks"]:
            called = webhook["clientConfig"]["service"]
            names.add(f"{called['name']}.{called.get('namespace')}.svc")
            ports = [port["port"] for port in services.get(called["name"], {"spec": {"ports": []}})["spec"]["ports"]]
            if called.get("port", 443) not in ports or called["path"] != PATH:
                yield f"nobody listens at {called}"
    for value in _of(manifests, "Certificate"):
        if set(value["spec"]["dnsNames"]) != names:
            yield f"the certificate is for {value['spec']['dnsNames']}, and {names} are called"
        if not any(INJECT in found["metadata"].get("annotations", {}) for found in manifests):
            yield "the API server does not trust the certificate"


def _met(manifests: Manifests, selector: dict[str, str]) -> list[str]:
    """Return the Deployments whose pods have these labels."""
    return [
        value["metadata"]["name"]
        for value in _of(manifests, "Deployment")
        if selector.items() <= value["spec"]["template"]["metadata"]["labels"].items()
    ]


def _of(manifests: Manifests, kind: str) -> Manifests:
    return [value for value in manifests if value["kind"] == kind]
