"""The real `docker-registry` (distribution) on loopback, as a child process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BINARY = "docker-registry"
_LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")


class DockerRegistry:
    """A running registry with its storage in `directory`; `address` is `127.0.0.1:PORT`.

    Args:
        directory: a fresh directory for configuration, storage and log.
        http: merged into the configuration's `http` part (tls, …).
        auth: the configuration's `auth` part.
        deletes: whether deletion is offered.
    """

    def __init__(
        self,
        directory: Path,
        *,
        http: Mapping[str, Any] | None = None,
        auth: Mapping[str, Any] | None = None,
        deletes: bool = True,
    ) -> None:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(directory / "storage")},
                "delete": {"enabled": deletes},
            },
            # Port 0: the kernel picks one, so that parallel sessions never meet; the log says which.
            "http": {"addr": "127.0.0.1:0", "secret": "of these tests", **(http or {})},
        }
        if auth is not None:
            config["auth"] = auth
        self._config, self._path = config, directory / "config.yml"
        self.log = directory / "log"
        self.start()

    def start(self) -> None:
        """Start it, after `close` again at the same address."""
        self._path.write_text(json.dumps(self._config))  # JSON is YAML
        # setpriv: the registry must not outlive a test session that is killed.
        wrap = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*wrap, BINARY, "serve", str(self._path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )
        self.address = f"127.0.0.1:{self._port()}"
        self._config["http"]["addr"] = self.address

    def _port(self) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            found = _LISTENING.search(self.log.read_bytes())
            if found:
                return int(found[1])
            time.sleep(0.01)
        self.close()
        raise RuntimeError(f"{BINARY} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
