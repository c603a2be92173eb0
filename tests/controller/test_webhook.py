"""The webhook over real HTTPS, asked as an API server asks."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import ssl
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.controller.run import Options, serve
from agent.controller.serve.webhook import PATH, Webhook, serve_webhook
from agent.controller.telemetry.metrics import Metrics
from agent.errors import UsageError
from agent.tekton.model.wrapping import Settings
from agent.tekton.pipeline.installation import Installation
from tests.controller.test_command import CONFIG, agent_controller, get
from tests.controller.test_command import run as command_line
from tests.fakes.cluster import Cluster, eventually
from tests.tekton.test_admission import asked
from tests.tekton.test_lookup import BUNDLE, asks, run

NAME = "instep-webhook.instep.svc"


def certify(directory: Path, days: int = 1) -> Path:
    """Put a certificate for the webhook's service into a directory, as docs/how-to/run-from-a-bundle.md has it."""
    directory.mkdir(exist_ok=True)
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days)]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-keyout", directory / "tls.key", "-out", directory / "tls.crt"]
    subprocess.run(["openssl", *words, *names, *files], check=True, capture_output=True)
    return directory


async def post(port: int, ca: Path, body: bytes | io.BytesIO, path: str = PATH) -> tuple[int, bytes]:
    """Ask as an API server does: it trusts the configuration's CA bundle, and wants the service's name."""
    context = ssl.create_default_context(cafile=str(ca / "tls.crt"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(
            f"https://127.0.0.1:{port}{path}?timeout=5s",
            data=body,
            headers={"Content-Type": "application/json"},
            server_hostname=NAME,
        ) as response,
    ):
        return response.status, await response.read()


async def test_a_run_is_rewritten_and_a_contradiction_refused(tmp_path: Path) -> None:
    metrics, tls = Metrics(), certify(tmp_path / "tls")
    value = run(says={"bundle": BUNDLE}, pipelineRef={"name": "p"})
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), metrics) as port:
        status, body = await post(port, tls, json.dumps(asked(value)).encode())
        answer = json.loads(body)["response"]
        assert (status, answer["uid"], answer["allowed"]) == (200, "u1", True)
        spec = next(step for step in json.loads(b64decode(answer["patch"])) if step["path"] == "/spec")["value"]
        assert spec == {"pipelineRef": asks("pipeline", "p")}
        value = run(says={"bundle": BUNDLE}, annotation="reg.io/other:1", pipelineRef={"name": "p"})
        status, body = await post(port, tls, json.dumps(asked(value)).encode())
        assert status == 200
        assert json.loads(body)["response"]["allowed"] is False
    assert b'instep_reviews_total{outcome="admitted"} 1.0' in metrics.text()
    assert b'instep_reviews_total{outcome="refused"} 1.0' in metrics.text()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"{}", b"[" * 200_000, b'{"apiVersion": "v1"}'])
async def test_what_is_no_review_is_a_bad_request(tmp_path: Path, body: bytes) -> None:
    tls = certify(tmp_path / "tls")
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), Metrics()) as port:
        assert (await post(port, tls, body))[0] == 400


async def test_other_paths_and_what_is_too_large_are_refused(tmp_path: Path) -> None:
    tls = certify(tmp_path / "tls")
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), Metrics()) as port:
        assert (await post(port, tls, b"{}", path="/"))[0] == 404
        assert (await post(port, tls, io.BytesIO(b"x" * (17 << 20))))[0] == 413


async def test_many_are_answered_at_once(tmp_path: Path) -> None:
    tls = certify(tmp_path / "tls")
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), Metrics()) as port:
        reviews = []
        for index in range(50):
            review = asked(run(annotation=BUNDLE, pipelineRef={"name": f"p{index}"}))
            review["request"]["uid"] = f"u{index}"
            reviews.append(post(port, tls, json.dumps(review).encode()))
        for index, (_, body) in enumerate(await asyncio.gather(*reviews)):
            answer = json.loads(body)["response"]
            assert answer["uid"] == f"u{index}"
            assert f'"p{index}"' in b64decode(answer["patch"]).decode()


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    tls = certify(tmp_path / "tls")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "tls.crt").write_bytes((tls / "tls.crt").read_bytes())
    review = json.dumps(asked(run())).encode()
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), Metrics(), pause=0.05) as port:
        assert (await post(port, tls, review))[0] == 200
        # Half of it, and then all.
        key = (tls / "tls.key").read_bytes()
        (tls / "tls.key").write_bytes(b"half")
        await asyncio.sleep(0.2)
        assert (await post(port, tmp_path / "old", review))[0] == 200
        (tls / "tls.key").write_bytes(key)
        certify(tls, days=2)
        for _ in range(100):
            try:
                assert (await post(port, tls, review))[0] == 200
                break
            except aiohttp.ClientConnectorCertificateError:
                await asyncio.sleep(0.05)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await post(port, tmp_path / "old", review)


async def test_plain_http_and_old_tls_get_no_answer(tmp_path: Path) -> None:
    tls = certify(tmp_path / "tls")
    async with serve_webhook(Webhook("127.0.0.1", 0, str(tls)), Metrics()) as port, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://127.0.0.1:{port}{PATH}", data=b"{}")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_without_a_certificate_it_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "tls.crt").write_bytes(content)
        (tmp_path / "tls.key").write_bytes(content)
    with pytest.raises(UsageError, match=r"no certificate can be read.*put tls\.crt and tls\.key there"):
        async with serve_webhook(Webhook("127.0.0.1", 0, str(tmp_path)), Metrics()):
            raise AssertionError


async def test_a_webhook_alone_asks_no_api_server_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """As config/lookup runs it, in a pod without a token: nobody is at the API server's address."""
    tls = certify(tmp_path / "tls")
    words = ["--config", CONFIG, "--webhook", "127.0.0.1:0", "--certificate", str(tls), "--webhook-only"]
    async with agent_controller(*words) as running:
        port = await running.port()
        assert await get(port, "/readyz") == (200, "ok\n")
        [line] = [json.loads(line) for line in running.lines if '"webhook started"' in line]
        assert (await post(line["about"]["port"], tls, json.dumps(asked(run())).encode()))[0] == 200
        assert 'instep_reviews_total{outcome="admitted"} 1.0' in (await get(port, "/metrics"))[1]
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 10) == 0


async def test_a_webhook_without_rights_for_the_field_reviews_all_the_same(cluster: Cluster, tmp_path: Path) -> None:
    tls = certify(tmp_path / "tls")
    cluster.api.forbidden.add(("get", "customresourcedefinitions"))
    words = ["--webhook", "127.0.0.1:0", "--certificate", str(tls), "--webhook-only", "--lookup-field"]
    async with cluster, agent_controller("--config", CONFIG, *words) as running:
        port = await running.port()
        await eventually(lambda: any("spec.lookup may be inactive" in line for line in running.lines), within=20)
        assert await get(port, "/readyz") == (200, "ok\n")
        assert "instep_lookup_field_active 0.0" in (await get(port, "/metrics"))[1]


def test_a_webhook_alone_needs_one() -> None:
    done = command_line("--webhook-only")
    assert done.returncode == 2
    assert "--webhook-only: there is no webhook; give --webhook, too" in done.stderr


async def test_the_controller_serves_it(cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tls = certify(tmp_path / "tls")
    options = Options(Installation(Settings("reg.io/agent:1")), port=0, webhook=Webhook("127.0.0.1", 0, str(tls)))
    async with cluster:
        task = asyncio.create_task(serve(options))
        try:
            ports: list[Any] = await eventually(
                lambda: [record.about["port"] for record in caplog.records if record.message == "webhook started"]  # type: ignore[attr-defined]
            )
            assert (await post(ports[0], tls, json.dumps(asked(run())).encode()))[0] == 200
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
