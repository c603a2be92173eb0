"""The directories of config/ as a real kustomize renders them, as they are and with something set on top."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.tekton.model.documents import read

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
COMPONENTS = ("cert-manager", "field")

Manifests = list[dict[str, Any]]


def render(directory: Path) -> Manifests:
    """Return what `kubectl apply -k` would apply."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return read(done.stdout, str(directory))


def lookup_with(place: Path, *components: str) -> Path:
    """Return a copy of config/lookup in which components are uncommented."""
    shutil.copytree(CONFIG, place / "config")
    file = place / "config" / "lookup" / "kustomization.yaml"
    text = file.read_text()
    for name in components:
        assert f"# - {name}\n" in text
        text = text.replace(f"# - {name}\n", f"- {name}\n")
    file.write_text(text)
    return file.parent


def on_top(place: Path, directory: Path, **fields: Any) -> Path:
    """Return a directory of a user's own, which uses one of ours and sets some fields."""
    top = place / "top"
    top.mkdir()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(directory.resolve(), top.resolve())],
        **fields,
    }
    (top / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return top


def key(value: dict[str, Any]) -> tuple[str, str, str]:
    """Return what tells an object from all others."""
    return str(value["kind"]), str(value["metadata"].get("namespace", "")), str(value["metadata"]["name"])


def named(manifests: Manifests, kind: str, name: str = "") -> dict[str, Any]:
    """Return the one object of a kind, or of a kind and name."""
    [found] = [value for value in manifests if value["kind"] == kind and name in ("", value["metadata"]["name"])]
    return found
