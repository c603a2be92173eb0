"""Structured logs: one JSON object per line, for the controller and the libraries."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

from agent.core.spelling.rfc3339 import format_time

LOGGER = logging.getLogger("agent.controller")


def set_up_logs(redact: Callable[[str], str], *, debug: bool, stream: TextIO = sys.stderr) -> None:
    """Send the lines of every logger to a stream, as JSON.

    Args:
        redact: returns a text on one line and without credentials.
        debug: whether the logs of libraries are included.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines(redact))
    if not debug:
        handler.addFilter(_is_not_a_retry)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)


def _is_not_a_retry(record: logging.LogRecord) -> bool:
    """Return False for the line that kopf logs at each attempt of a request; `access` logs one line for all of them."""
    return not (record.name.startswith("kopf.") and str(record.msg).startswith("Request attempt"))


class _JsonLines(logging.Formatter):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": format_time(int(record.created * 1e9)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        about = getattr(record, "about", None) or getattr(record, "k8s_ref", None)
        if isinstance(about, dict):
            found["about"] = {key: self._redact(str(value)) for key, value in about.items()}
        if record.exc_info:
            found["origin"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(found)
