"""The controller's image: it runs as a user that is not root, on a read-only root, and does its work."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path

import pytest

from tests.fakes.cluster import Cluster, condition, eventually
from tests.images.container import Images
from tests.tekton.test_launch import custom_run

pytestmark = pytest.mark.timeout(600)
CONFIG = "image: reg.io/agent:1\n"


@pytest.mark.slow  # the same build as the agent's, with other arguments
def test_it_launches_a_run_and_ends_on_sigterm(images: Images, controller_image: str, tmp_path: Path) -> None:
    config = images.config(controller_image)
    assert config["User"] == "65532"
    with images.container(controller_image, tmp_path / "volume") as container:
        (container.volume / "controller.yaml").write_text(CONFIG)
        words = ("controller", "--config", "/volume/controller.yaml", "--listen", "127.0.0.1:0")

        async def play() -> None:
            async with Cluster(container.volume) as cluster:
                cluster.kubeconfig.chmod(0o644)
                process = container.start(*config["Entrypoint"], *words, env={"KUBECONFIG": "/volume/kubeconfig"})
                lines: list[str] = []
                reader = threading.Thread(target=lambda: lines.extend(process.stderr or []))
                reader.start()
                await cluster.create(custom_run())
                await eventually(lambda: cluster.get("PipelineRun", "run") or process.poll() is not None, within=60)
                assert process.poll() is None, lines
                await cluster.end("run", "True", "Succeeded")
                await eventually(lambda: condition(cluster.get("CustomRun", "run")) == ("True", "Succeeded"), within=60)
                container.signal(process, signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0
                reader.join()
                assert [json.loads(line)["level"] for line in lines if "warning" in line or "error" in line] == []

        asyncio.run(play())
