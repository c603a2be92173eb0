"""A thread-safe counter of requests and bytes."""

from __future__ import annotations

import threading

from agent.store.port import Traffic


class TrafficCounter:
    """Adds to one `Traffic` under a lock; `traffic` may be read at any time."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._lock = threading.Lock()

    def add(self, *, requests: int = 0, received: int = 0, sent: int = 0) -> None:
        """Count requests, and bytes of blobs and manifests that were received and sent."""
        with self._lock:
            self.traffic.requests += requests
            self.traffic.received += received
            self.traffic.sent += sent
