"""Where the API server is: what Kubernetes tells every pod, a name only where it tells nothing, else a kubeconfig."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from agent.controller.api.login import login, server_of
from tests.fakes.secrets import secret

ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
IN_A_POD = f"""
mount -t tmpfs tmpfs /run
mkdir -p {ACCOUNT}
printf %s "$TOKEN" > {ACCOUNT}/token
printf ci > {ACCOUNT}/namespace
exec "$@"
"""
SAY = """
from hashlib import sha256
from agent.controller.api.login import login
found = login()
print(found.server, sha256(found.token.encode()).hexdigest(), found.default_namespace)
"""


@pytest.mark.parametrize(
    ("environ", "server"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://10.96.0.1:6443"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "https://10.96.0.1:443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, "https://[fd00::1]:443"),
        ({"KUBERNETES_SERVICE_HOST": "api.example.com", "KUBERNETES_SERVICE_PORT": ""}, "https://api.example.com:443"),
        ({"KUBERNETES_SERVICE_PORT": "443"}, None),
        ({"KUBERNETES_SERVICE_HOST": ""}, None),
        ({}, None),
    ],
)
def test_the_address_is_the_one_that_kubernetes_tells_every_pod(environ: dict[str, str], server: str | None) -> None:
    assert server_of(environ) == server


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="unshare is not installed, or no root")
@pytest.mark.parametrize(
    ("environ", "server"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}, "https://10.96.0.1:443"),
        ({}, "https://kubernetes.default.svc"),
    ],
)
def test_in_a_pod_the_service_account_logs_in_without_dns(environ: dict[str, str], server: str) -> None:
    """The files of a service account, where they lie in every pod: in a mount namespace of its own."""
    token = secret("service-account")
    env = {**os.environ, **environ, "TOKEN": token}
    command = ["unshare", "--mount", "sh", "-euc", IN_A_POD, "sh", sys.executable, "-c", SAY]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [server, sha256(token.encode()).hexdigest(), "ci"], done.stderr


def test_outside_of_a_pod_the_address_of_pods_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = "https://laptop.example.com:6443"
    config = tmp_path / "config"
    config.write_text(
        "current-context: c\n"
        "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
        f"clusters: [{{name: k, cluster: {{server: '{server}'}}}}]\n"
        f"users: [{{name: u, user: {{token: {secret('laptop')}}}}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert login().server == server
