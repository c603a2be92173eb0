"""Secrets for tests, made so that they can be told wherever they come out (see `tests/conftest.py`)."""

from __future__ import annotations

import base64

MARK = "Xq7ToPsEcReT"
"""What every secret of a test holds."""


def secret(name: str) -> str:
    """Return a secret; those of different names differ."""
    return f"{MARK}-{name}"


def _encoded() -> list[str]:
    """The mark as base64 shows it: three ways, by what stands before it, without the ends that mix with neighbours."""
    return [base64.b64encode(b"\0" * before + MARK.encode()).decode().strip("=")[4:-2] for before in range(3)]


FORMS = (MARK, *_encoded())


def holds_secret(text: str | bytes) -> bool:
    """Say whether a secret of a test stands in `text`, as it is or in base64 (as of a user name and password)."""
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    return any(form in shown for form in FORMS)
