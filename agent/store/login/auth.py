"""Answering a registry's challenge: basic, or bearer tokens from the server it names.

Follows the distribution project's token specification (spec/auth: token, oauth, scope) and RFC 9110 section 11.
Tokens are kept by what they were asked for and renewed before they expire.

Who gets the user's credentials: the registry itself, and the token server that it names, if that one speaks https.
Over plain http only where the registry is spoken to without TLS anyway, and if the token server is then on the
registry's own host or on this machine. Nobody else: not to where either of them redirects.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from agent.errors import AuthError, RefusedError
from agent.remedy import Remedy, log_in, may_not, renew_token
from agent.store.login.credentials import Credentials
from agent.store.network.address import Origin, is_loopback, origin_of
from agent.store.network.problem import Problem

DEFAULT_SECONDS = 60.0
_LONGEST = 365 * 86_400
_TOKEN_MAX = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]+")
# Each byte of a header can be taken in one way only: what a hostile registry sends takes time in proportion.
_SCHEME = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9._~+-]*)(?=\s|$|,)")
_PARAMETER = re.compile(r'[\s,]*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

Grants = frozenset[tuple[str, str]]
"""What a token is to allow: pairs of resource (`repository:NAME`) and action (`pull`, `push`, `delete`)."""


class Challenge(NamedTuple):
    """One challenge of a WWW-Authenticate header; scheme and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class Reply(Protocol):
    """What a token server answered."""

    status: int
    headers: Mapping[str, str]

    def body(self, limit: int) -> bytes:
        """Return the whole body."""

    def problem(self) -> Problem:
        """Return what it says if it says no."""


Exchange = Callable[[str, str, Mapping[str, str], bytes | None], Reply]
"""(method, URL, headers, body) to reply; retries by itself; passes Authorization to no other origin."""


class _Token(NamedTuple):
    header: str
    fresh_until: float


@dataclass
class Authorizer:
    """Knows what to put into the Authorization header of one registry's requests. Safe for several threads.

    Args:
        registry: where the registry is.
        name: the registry as the user calls it.
        find: returns the user's credentials; called once, when they are first needed.
        exchange: talks to token servers.
        clock: monotonic seconds.
    """

    registry: Origin
    name: str
    find: Callable[[], Credentials]
    exchange: Exchange
    clock: Callable[[], float]
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _credentials: Credentials | None = None
    _challenge: Challenge | None = None
    _tokens: dict[Grants, _Token] = field(default_factory=dict)
    _basic: str = ""
    _secrets: set[str] = field(default_factory=set)

    def header(self, grants: Grants) -> str | None:
        """Return the value to send now, None before the registry's first challenge.

        Raises:
            AuthError, UnavailableError: a token was needed and not to be had.
        """
        with self._lock:
            if self._basic:
                return self._basic
            if self._challenge is None:
                return None
            return self._cached(grants) or self._renew(self._challenge, grants)

    def challenged(self, headers: Mapping[str, str], grants: Grants, refused: str | None) -> str:
        """Return the value to send after a 401 with these `headers`; `refused` is what was sent.

        Raises:
            AuthError: there is nothing else to send.
            UnavailableError: the token server does not answer.
        """
        challenges = parse_challenges(headers.get("WWW-Authenticate", ""))
        with self._lock:
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    self._tokens = {key: token for key, token in self._tokens.items() if token.header != refused}
                    self._challenge = challenge
                    wanted = grants | _grants_of(challenge.parameters.get("scope", ""))
                    return self._cached(wanted) or self._renew(challenge, wanted)
            for challenge in challenges:
                if challenge.scheme == "basic":
                    return self._answer_basic(challenge, refused)
        raise self._failed("the registry asks for a login in a way that is not known", "use another registry")

    def credentials(self) -> Credentials:
        """Return the user's credentials."""
        with self._lock:
            if self._credentials is None:
                self._credentials = self.find()
                self._secrets.update(self._credentials.secrets)
            return self._credentials

    def secrets(self) -> list[str]:
        """Return everything that must not be shown, tokens that ended or were refused too."""
        with self._lock:
            return list(self._secrets)

    def refusal(self, problem: Problem, subject: str) -> AuthError:
        """Return the error for a request that was refused for good (401 or 403)."""
        said = f" ({problem.text})" if problem.text else ""
        if self.credentials().known:
            remedy = renew_token(self.name) if self.credentials().registry_token else may_not(self.name)
            return AuthError(f"the registry refuses this account{said}", subject=subject, remedy=remedy)
        return AuthError(f"the registry refuses this without a login{said}", subject=subject, remedy=self._log_in())

    def _answer_basic(self, challenge: Challenge, refused: str | None) -> str:
        credentials = self.credentials()
        value = credentials.basic if credentials.username else self._from_cloud(challenge)
        if not value:
            raise self._failed("the registry asks for a login and none was found", self._log_in())
        if value == refused:
            self._basic = ""
            raise self._failed("the registry refuses the user name or password", self._log_in())
        self._basic = value
        self._secrets.add(value.partition(" ")[2])
        return value

    def _from_cloud(self, challenge: Challenge) -> str:
        from agent.store.login import ecr

        return ecr.authorization(self.registry.host, challenge.parameters)

    def _cached(self, grants: Grants) -> str | None:
        now = self.clock()
        self._tokens = {key: token for key, token in self._tokens.items() if token.fresh_until > now}
        return next((token.header for key, token in self._tokens.items() if key >= grants), None)

    def _renew(self, challenge: Challenge, grants: Grants) -> str:
        token = self._fetch(challenge, grants)
        self._tokens[grants] = token
        return token.header

    def _fetch(self, challenge: Challenge, grants: Grants) -> _Token:
        realm = challenge.parameters.get("realm", "")
        credentials = self.credentials()
        if credentials.registry_token:
            return _Token(f"Bearer {credentials.registry_token}", math.inf)
        self._check_realm(realm, credentials)
        fields = [("service", challenge.parameters["service"])] if "service" in challenge.parameters else []
        scopes = format_scopes(grants)
        asked_at = self.clock()
        if credentials.identity_token:
            fields += [("grant_type", "refresh_token"), ("client_id", "instep"), ("scope", " ".join(scopes))]
            form = urlencode([*fields, ("refresh_token", credentials.identity_token)]).encode()
            reply = self.exchange("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, form)
        else:
            headers = {"Authorization": credentials.basic} if credentials.known else {}
            fields += [("scope", scope) for scope in scopes]
            reply = self.exchange("GET", _with_query(realm, fields), headers, None)
        return self._token(reply, asked_at)

    def _check_realm(self, realm: str, credentials: Credentials) -> None:
        try:
            origin = origin_of(realm, self.name)
        except RefusedError as error:
            raise self._failed("the registry names a token server that is no web address", "check the name") from error
        near = origin.host == self.registry.host or is_loopback(origin.host) or not credentials.known
        if origin.scheme == "http" and not (self.registry.scheme == "http" and near):
            raise self._failed(
                "the registry's token server does not use TLS, so it gets no credentials",
                "ask its owner to serve tokens over https",
            )

    def _token(self, reply: Reply, asked_at: float) -> _Token:
        if reply.status != 200:
            problem = reply.problem()
            said = f" ({problem.text})" if problem.text else ""
            if self.credentials().known:
                raise self._failed(f"the token server refuses the user name or password{said}", self._log_in())
            raise self._failed(f"the token server refuses anonymous users{said}", self._log_in())
        try:
            value: Any = json.loads(reply.body(_TOKEN_MAX))
            text = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            text = None
        if not isinstance(text, str) or not _TOKEN.fullmatch(text):
            raise self._failed("the token server's answer holds no token", "try again, or ask its owner")
        self._secrets.add(text)
        lifetime = _lifetime(value, reply.headers)
        # Renewed a little early, for the way of the request and for clocks that differ.
        return _Token(f"Bearer {text}", asked_at + lifetime - min(10.0, lifetime / 4))

    def _log_in(self) -> Remedy:
        notes = self.credentials().notes
        return log_in(self.name, f" (passed over: {', '.join(notes)})" if notes else "")

    def _failed(self, what: str, remedy: str | Remedy) -> AuthError:
        return AuthError(what, subject=self.name, remedy=remedy)


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a WWW-Authenticate header, several of them folded into one line or not."""
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


def _grants_of(scopes: str) -> Grants:
    found: set[tuple[str, str]] = set()
    for scope in scopes.split():
        resource, _, actions = scope.rpartition(":")
        if resource:
            found.update((resource, action) for action in actions.split(",") if action)
    return frozenset(found)


def _lifetime(value: dict[str, Any], headers: Mapping[str, str]) -> float:
    """Seconds that a token is good for, counted from when it was asked for.

    `issued_at` may lie in the past where a server hands out a token twice. It is compared with the server's own
    Date, never with a clock here.
    """
    seconds = value.get("expires_in")
    total = float(min(seconds, _LONGEST)) if isinstance(seconds, int | float) and seconds > 0 else DEFAULT_SECONDS
    try:
        issued = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value["issued_at"])))
        age = parsedate_to_datetime(headers["Date"]).timestamp() - issued.timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return total
    return max(total - max(age, 0.0), 0.0) if issued.tzinfo else total


def _with_query(url: str, fields: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(fields)) if part)
    return urlunsplit(parts._replace(query=query, fragment=""))
