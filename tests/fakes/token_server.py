"""A token server (distribution's token specification) and the gate it guards, with tokens that end by count or time."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.secrets import secret

SERVICE = "registry.test"


@dataclass
class Issued:
    scopes: frozenset[str]
    uses_left: int | None


@dataclass
class TokenServer:
    """Hands out bearer tokens; `gate` is a rule for the `FaultProxy` before a registry without authentication.

    Attributes:
        users: passwords by user name.
        identity_tokens: refresh tokens that are good.
        anonymous: whether `pull` is given to anyone.
        uses: requests that a token is good for, None for any number.
        expires_in: what the answer says, None for nothing.
        rights: actions that may be granted at all.
    """

    users: dict[str, str] = field(default_factory=dict)
    identity_tokens: set[str] = field(default_factory=set)
    anonymous: bool = False
    uses: int | None = None
    expires_in: int | None = 300
    rights: frozenset[str] = frozenset({"pull", "push", "delete"})
    issued: dict[str, Issued] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.http = FaultProxy()
        self.http.add_rule(self._answer)
        self.realm = f"http://{self.http.address}/token"

    def close(self) -> None:
        self.http.close()

    def expire_all(self) -> None:
        with self._lock:
            self.issued.clear()

    def gate(self, seen: Seen) -> Fault | None:
        """Refuse what carries no good token with enough rights."""
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(seen.method, "push")
        if seen.method == "DELETE" and "/uploads/" in seen.path:
            action = "push"
        repository = seen.path.split("?")[0].removeprefix("/v2/")
        for mark in ("/manifests/", "/blobs/", "/tags/"):
            repository = repository.split(mark)[0]
        scope = f"repository:{repository}:{action}"
        with self._lock:
            token = self.issued.get(seen.headers.get("Authorization", "").removeprefix("Bearer "))
            if token is not None and scope in token.scopes and token.uses_left != 0:
                if token.uses_left is not None:
                    token.uses_left -= 1
                return None
        asked = f"repository:{repository}:{'pull' if action == 'pull' else 'pull,' + action}"
        challenge = f'Bearer realm="{self.realm}",service="{SERVICE}",scope="{asked}"'
        if token is not None:
            challenge += ',error="invalid_token"'
        return Fault(401, {"WWW-Authenticate": challenge}, b'{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}')

    def _answer(self, seen: Seen) -> Fault:
        if seen.method == "POST":
            form = parse_qs(seen.body.decode())
            known = form.get("refresh_token", [""])[0] in self.identity_tokens
            known = known and form.get("grant_type") == ["refresh_token"] and bool(form.get("client_id"))
            scopes = form.get("scope", [""])[0].split()
        else:
            form = parse_qs(urlsplit(seen.path).query)
            known = self._knows(seen.headers.get("Authorization", ""))
            scopes = form.get("scope", [])
        refused = not known and (not self.anonymous or "Authorization" in seen.headers)
        if refused or form.get("service") != [SERVICE]:
            return Fault(401, {}, b'{"details":"incorrect username or password"}')
        rights = self.rights if known else self.rights & {"pull"}
        granted = {
            f"{resource}:{action}"
            for resource, _, actions in (scope.rpartition(":") for scope in scopes)
            for action in actions.split(",")
            if action in rights
        }
        with self._lock:
            text = secret(f"token-{len(self.http.seen)}")
            self.issued[text] = Issued(frozenset(granted), self.uses)
        value: dict[str, object] = {"access_token" if seen.method == "POST" else "token": text}
        if self.expires_in is not None:
            value["expires_in"] = self.expires_in
        return Fault(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _knows(self, authorization: str) -> bool:
        if not authorization.startswith("Basic "):
            return False
        user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
        return self.users.get(user) == password
