"""Counting what moves, from several threads at once."""

from __future__ import annotations

import threading

from agent.store.port import Traffic


class Meter:
    """Adds to one `Traffic` under a lock; readers of `traffic` may look at any time."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._lock = threading.Lock()

    def add(self, *, requests: int = 0, received: int = 0, sent: int = 0) -> None:
        """Count requests, and bytes of blobs and manifests in and out."""
        with self._lock:
            self.traffic.requests += requests
            self.traffic.received += received
            self.traffic.sent += sent
