"""Answers a registry's challenge: basic authentication, or bearer tokens from the server that the challenge names.

Follows the distribution project's token specification (spec/auth: token, oauth, scope) and RFC 9110 section 11.
Tokens are cached by their scope and renewed before they expire.

The user's credentials are sent to the registry and to its token server if that uses https. Over plain http they are
sent only if the registry is used without TLS, too, and the token server is on the registry's own host or on this
machine. No other host gets them, not by a redirect either.
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
from agent.store.login.challenge import Challenge, Grants, format_scopes, parse_challenges, parse_scopes
from agent.store.login.login_entry import Credentials
from agent.store.network.address import Origin, is_loopback, origin_of
from agent.store.network.error_details import ErrorDetails

DEFAULT_SECONDS = 60.0
_LONGEST = 365 * 86_400
_TOKEN_MAX = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]+")


class TokenResponse(Protocol):
    """The response of a token server."""

    status: int
    headers: Mapping[str, str]

    def body(self, limit: int) -> bytes:
        """Return the whole body."""

    def error_details(self) -> ErrorDetails:
        """Return the details of an error response."""


Exchange = Callable[[str, str, Mapping[str, str], bytes | None], TokenResponse]
"""(method, URL, headers, body) to a response, with retries; Authorization is sent to no other origin."""


class _Token(NamedTuple):
    header: str
    fresh_until: float


@dataclass
class Authorizer:
    """Makes the Authorization header for one registry's requests. Safe for several threads.

    Args:
        registry: where the registry is.
        name: the registry's name, as the user wrote it.
        find: returns the user's credentials; called once, when they are first needed.
        exchange: sends requests to token servers.
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
        """Return the header's value, None before the registry's first challenge.

        Raises:
            AuthError, UnavailableError: a token is needed and was not issued.
        """
        with self._lock:
            if self._basic:
                return self._basic
            if self._challenge is None:
                return None
            return self._cached(grants) or self._renew(self._challenge, grants)

    def answer_challenge(self, headers: Mapping[str, str], grants: Grants, refused: str | None) -> str:
        """Return the header's value after a 401 with these `headers`; `refused` is the value that was sent.

        Raises:
            AuthError: the user has no other credentials.
            UnavailableError: the token server does not answer.
        """
        challenges = parse_challenges(headers.get("WWW-Authenticate", ""))
        with self._lock:
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    self._tokens = {key: token for key, token in self._tokens.items() if token.header != refused}
                    self._challenge = challenge
                    wanted = grants | parse_scopes(challenge.parameters.get("scope", ""))
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
        """Return all secrets so far, expired and refused tokens too, so that no message repeats them."""
        with self._lock:
            return list(self._secrets)

    def refusal(self, details: ErrorDetails, subject: str) -> AuthError:
        """Return the error for a request that the account may not make (401 or 403)."""
        quoted = f" ({details.text})" if details.text else ""
        if self.credentials().is_present:
            remedy = renew_token(self.name) if self.credentials().registry_token else may_not(self.name)
            return AuthError(f"the registry refuses this account{quoted}", subject=subject, remedy=remedy)
        return AuthError(f"the registry refuses this without a login{quoted}", subject=subject, remedy=self._log_in())

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
        requested_at = self.clock()
        if credentials.identity_token:
            fields += [("grant_type", "refresh_token"), ("client_id", "instep"), ("scope", " ".join(scopes))]
            form = urlencode([*fields, ("refresh_token", credentials.identity_token)]).encode()
            response = self.exchange("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, form)
        else:
            headers = {"Authorization": credentials.basic} if credentials.is_present else {}
            fields += [("scope", scope) for scope in scopes]
            response = self.exchange("GET", _with_query(realm, fields), headers, None)
        return self._token(response, requested_at)

    def _check_realm(self, realm: str, credentials: Credentials) -> None:
        try:
            origin = origin_of(realm, self.name)
        except RefusedError as error:
            raise self._failed("the registry names a token server that is no web address", "check the name") from error
        near = origin.host == self.registry.host or is_loopback(origin.host) or not credentials.is_present
        if origin.scheme == "http" and not (self.registry.scheme == "http" and near):
            raise self._failed(
                "the registry's token server does not use TLS, so it gets no credentials",
                "ask its owner to serve tokens over https",
            )

    def _token(self, response: TokenResponse, requested_at: float) -> _Token:
        if response.status != 200:
            details = response.error_details()
            quoted = f" ({details.text})" if details.text else ""
            if self.credentials().is_present:
                raise self._failed(f"the token server refuses the user name or password{quoted}", self._log_in())
            raise self._failed(f"the token server refuses anonymous users{quoted}", self._log_in())
        try:
            value: Any = json.loads(response.body(_TOKEN_MAX))
            text = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            text = None
        if not isinstance(text, str) or not _TOKEN.fullmatch(text):
            raise self._failed("the token server's answer holds no token", "try again, or ask its owner")
        self._secrets.add(text)
        lifetime = _lifetime(value, response.headers)
        # Renewed a little early, for the request's travel time and for clocks that differ.
        return _Token(f"Bearer {text}", requested_at + lifetime - min(10.0, lifetime / 4))

    def _log_in(self) -> Remedy:
        notes = self.credentials().notes
        return log_in(self.name, f" (passed over: {', '.join(notes)})" if notes else "")

    def _failed(self, what: str, remedy: str | Remedy) -> AuthError:
        return AuthError(what, subject=self.name, remedy=remedy)


def _lifetime(value: dict[str, Any], headers: Mapping[str, str]) -> float:
    """Return the seconds for which a token is valid, from the time of its request.

    `issued_at` may be in the past if a server issues a token twice. It is compared with the server's own Date, never
    with the local clock.
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
