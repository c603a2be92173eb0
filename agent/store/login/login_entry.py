"""Credentials, and the syntax of docker's and podman's login files. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

WILDCARD = re.compile(r"[*?]")
_TOKEN = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's credentials for one registry; empty for an anonymous user. `repr` shows no secrets.

    Attributes:
        username, password: for basic authentication, and for token servers.
        identity_token: an OAuth2 refresh token, for token servers.
        registry_token: a bearer token, for the registry itself.
        notes: files and helpers that were skipped, and why.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether there are credentials at all."""
        return bool(self.username or self.identity_token or self.registry_token)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode(errors="surrogateescape")
        return "Basic " + base64.b64encode(pair).decode()

    @property
    def secrets(self) -> list[str]:
        """All secrets in them, which no message may repeat."""
        secrets = (self.password, self.identity_token, self.registry_token, self.basic.partition(" ")[2])
        return [secret for secret in secrets if secret]


def parse_entry(value: dict[str, Any]) -> Credentials:
    """Return the credentials in one entry of `auths`.

    Raises:
        ValueError: its `auth` is not base64 of `user:password`.
    """
    username, password = field_of(value, "username") or "", field_of(value, "password") or ""
    if auth := field_of(value, "auth"):
        username, password = _decode(str(auth))
    identity, token = field_of(value, "identitytoken") or "", field_of(value, "registrytoken") or ""
    if not all(isinstance(text, str) for text in (username, password, identity, token)):
        raise ValueError("not text")
    if not _TOKEN.fullmatch(token):
        raise ValueError("not a token")
    return Credentials(username, password, identity, token)


def _decode(auth: str) -> tuple[str, str]:
    """Return user and password from base64, with or without line breaks and padding."""
    text = auth.replace("\r", "").replace("\n", "")
    try:
        pair = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode(errors="surrogateescape")
    except binascii.Error as error:
        raise ValueError("not base64") from error
    username, colon, password = pair.partition(":")
    if not colon:
        raise ValueError("not user:password")
    return username, password.strip("\0")


def covers(registry: str, pattern: str) -> bool:
    """Return whether a host with wildcards matches a registry, as in the kubelet: label by label, and the same port."""
    if not WILDCARD.search(pattern):
        return False
    host, _, port = registry.partition(":")
    pattern, _, wanted = pattern.partition(":")
    labels, patterns = host.split("."), pattern.split(".")
    return port == wanted and len(labels) == len(patterns) and all(map(fnmatchcase, labels, patterns))


def first_json(data: bytes) -> object:
    """Return the first JSON value in a file, as docker does; an empty object for an empty file."""
    text = data.decode(json.detect_encoding(data)).strip()
    return json.JSONDecoder().raw_decode(text)[0] if text else {}


def field_of(fields: dict[str, Any], name: str) -> Any:
    """Return a field by its name; without an exact match, in any case, as Go's JSON decoder does."""
    if name in fields:
        return fields[name]
    return next((value for key, value in fields.items() if key.lower() == name.lower()), None)


def object_of(value: object) -> dict[str, Any]:
    """Return a JSON object, an empty one if `value` is none."""
    return value if isinstance(value, dict) else {}
