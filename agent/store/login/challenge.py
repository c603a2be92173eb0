"""Challenges of a registry (RFC 9110 section 11) and the scopes of tokens (distribution, "Token Scope"). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Each byte can match in one way only, so that hostile headers cost linear time.
_SCHEME = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9._~+-]*)(?=\s|$|,)")
_PARAMETER = re.compile(r'[\s,]*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

Grants = frozenset[tuple[str, str]]
"""Rights of a token: pairs of resource (`repository:NAME`) and action (`pull`, `push`, `delete`)."""


class Challenge(NamedTuple):
    """One challenge of a WWW-Authenticate header; scheme and names of parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a WWW-Authenticate header, which may be several in one line."""
    found: list[Challenge] = []
    at = 0
    while (scheme := _SCHEME.match(header, at)) is not None:
        at = scheme.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, at)) is not None:
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            at = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def format_scopes(grants: Grants) -> list[str]:
    """Return the scopes that ask for `grants`, one for each resource: `repository:NAME:pull,push`."""
    actions: dict[str, list[str]] = {}
    for resource, action in sorted(grants):
        actions.setdefault(resource, []).append(action)
    return [f"{resource}:{','.join(found)}" for resource, found in actions.items()]


def parse_scopes(scopes: str) -> Grants:
    """Return the grants of a challenge's `scope` parameter; malformed scopes are skipped."""
    found: set[tuple[str, str]] = set()
    for scope in scopes.split():
        resource, _, actions = scope.rpartition(":")
        if resource:
            found.update((resource, action) for action in actions.split(",") if action)
    return frozenset(found)
