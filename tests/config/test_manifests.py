"""The manifests of config/: valid for Kubernetes, restricted, and in step with the code."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from agent.cli.controller import ALL_ADDRESSES, command
from agent.tekton.model.documents import read
from agent.tekton.model.wrapping import NO_DEFAULTS
from agent.tekton.pipeline.installation import parse_installation
from tests.config.rendering import CONFIG, ROOT, lookup_with, render

CLUSTER = CONFIG / "cluster"


def loaded(path: Path) -> list[dict[str, Any]]:
    return read(path.read_text(), path.name)


def objects() -> dict[str, dict[str, Any]]:
    """Return what is installed, by kind."""
    [kustomization] = loaded(CLUSTER / "kustomization.yaml")
    return {value["kind"]: value for name in kustomization["resources"] for value in loaded(CLUSTER / name)}


def container() -> dict[str, Any]:
    [found] = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", ["1.28", "1.33"])
@pytest.mark.parametrize("kind", sorted(objects()))
def test_every_object_is_valid(kind: str, version: str) -> None:
    kubernetes_validate.validate(objects()[kind], version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    deployment = objects()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


def test_nothing_lies_there_that_is_not_installed() -> None:
    [kustomization] = loaded(CLUSTER / "kustomization.yaml")
    files = {"kustomization.yaml", *kustomization["resources"]}
    files |= {name for found in kustomization["configMapGenerator"] for name in found["files"]}
    assert {path.name for path in CLUSTER.iterdir()} == files


def test_the_pod_fits_the_restricted_standard_that_its_namespace_enforces() -> None:
    assert objects()["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    is_restricted(objects()["Deployment"]["spec"]["template"]["spec"])


def is_restricted(pod: dict[str, Any]) -> None:
    """Fail unless a pod may run in a namespace that enforces the restricted standard."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [found] = pod["containers"]
    context = found["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert all(set(volume) & {"configMap", "secret", "emptyDir"} for volume in pod["volumes"])


def test_the_command_line_is_one_that_the_command_takes() -> None:
    name, *words = container()["args"]
    assert name == command.name
    command.make_context(name, list(words))


def test_the_ports_are_those_that_are_listened_at() -> None:
    [port] = container()["ports"]
    assert ALL_ADDRESSES.endswith(f":{port['containerPort']}")
    annotations = objects()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    for probe in ("livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["port"] == port["name"]


def test_everything_that_is_mounted_is_there() -> None:
    [kustomization] = loaded(CLUSTER / "kustomization.yaml")
    generated = {found["name"] for found in kustomization["configMapGenerator"]}
    volumes = {volume["name"]: volume for volume in objects()["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] in generated
    assert volumes["registry"]["secret"]["optional"] is True


def test_the_images_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    settings = parse_installation(loaded(CLUSTER / "controller.yaml")[0], "controller.yaml").settings
    for image in (container()["image"], settings.image):
        assert image.endswith(f":{version}")


def test_the_configuration_is_one_that_the_controller_takes_with_its_comments_too() -> None:
    text = (CLUSTER / "controller.yaml").read_text()
    plain = parse_installation(read(text, "controller.yaml")[0], "controller.yaml")
    assert plain.defaults == replace(NO_DEFAULTS, patience="2m")
    spelled_out = re.sub(r"^# (target|base|ca-config-map):", r"\1:", text, flags=re.MULTILINE)
    full = parse_installation(read(spelled_out, "controller.yaml")[0], "controller.yaml")
    assert full.defaults.target.startswith("registry.example.com/")
    assert full.defaults.base
    documented = set(
        re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "reference" / "controller.md").read_text(), re.MULTILINE)
    )
    assert documented >= set(read(spelled_out, "controller.yaml")[0])


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/install-the-controller.md"])
def test_the_command_of_the_pages_names_all_images(page: str, tmp_path: Path) -> None:
    """And it can be run again, with another name."""
    [line] = [line.strip() for line in (ROOT / page).read_text().splitlines() if line.strip().startswith("$ sed ")]
    lookup = lookup_with(tmp_path)
    for registry in ("registry.example.org", "registry.example.net:5000/tools"):
        command = line.removeprefix("$ ").replace("#registry.example.org", f"#{registry}")
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
        manifests = render(lookup)
        deployments = [value for value in manifests if value["kind"] == "Deployment"]
        images = {value["spec"]["template"]["spec"]["containers"][0]["image"] for value in deployments}
        assert {image.rpartition(":")[0] for image in images} == {f"{registry}/instep/controller"}
        configuration = next(value for value in manifests if value["kind"] == "ConfigMap")["data"]["controller.yaml"]
        image = parse_installation(read(configuration, "controller.yaml")[0], "controller.yaml").settings.image
        assert image.rpartition(":")[0] == f"{registry}/instep/agent"
