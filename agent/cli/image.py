"""The agent's own image."""

from __future__ import annotations


def default_image() -> str:
    """Return the agent's image of this version."""
    from importlib.metadata import version

    return f"ghcr.io/instep/agent:{version('instep')}"
