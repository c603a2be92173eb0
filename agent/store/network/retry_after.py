"""Tells temporary error responses from permanent ones, and reads the delay that they ask for. Pure.

Registries, and the proxies, content networks and object stores around them, signal it in many ways: by a status, by
`Retry-After` beside a status that means something else, by an error code, by counters that are at zero, or in words. An
error response without any of these is permanent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate, parsedate_to_datetime

from agent.store.network.error_details import ErrorDetails
from agent.store.network.retrying import Timing

STATUSES = frozenset({408, 420, 425, 429, 500, 502, 503, 504, 509, 529, 530, 598, 599, *range(520, 528)})
"""Statuses that are not about the request itself. Those from 520 on are Cloudflare's and other networks'."""

_PERMANENT = frozenset({401, 404, 405, 410, 501})
"""Statuses that are permanent even with Retry-After: a login or the requested object is missing."""
_CODES = frozenset(
    {
        "TOOMANYREQUESTS",
        "TOO_MANY_REQUESTS",
        "TOOMANYREQUESTSEXCEPTION",
        "RATELIMITEXCEEDED",
        "RATE_LIMIT_EXCEEDED",
        "RATELIMITED",
        "THROTTLED",
        "THROTTLING",
        "THROTTLINGEXCEPTION",
        "REQUESTLIMITEXCEEDED",
        "SLOWDOWN",
        "SERVERBUSY",
        "UNAVAILABLE",
    }
)
_WORDS = (
    "rate limit",
    "rate-limit",
    "ratelimit",
    "rate exceeded",
    "request rate is too",
    "request limit exceeded",
    "requestlimitexceeded",
    "too many requests",
    "toomanyrequests",
    "too much traffic",
    "throttl",
    "slow down",
    "slowdown",
    "server is busy",
    "server busy",
    "serverbusy",
    "try again later",
    "try again in",
    "retry later",
    "retry your request later",
    "temporarily unavailable",
    "temporarily blocked",
)
_KINDS = ("ratelimit", "x-ratelimit", "x-rate-limit")
_NUMBER = re.compile(r"[0-9]{1,15}")
_FIELD = re.compile(r"\b(remaining|reset|r|t)\s*=\s*([0-9]{1,15})(?![0-9])")
_EPOCH = 1_000_000_000
"""Above this a reset is a date, in seconds since 1970; above a thousand times that, in milliseconds."""
_LAST = 253_402_300_799
"""The last second of the year 9999."""


def is_temporary(details: ErrorDetails, headers: Mapping[str, str]) -> bool:
    """Return whether a request may succeed later although it got this error response."""
    status = details.status
    if status in STATUSES:
        return True
    if details.codes & _CODES or (status != 404 and details.mentions(*_WORDS)):
        return True
    if status in _PERMANENT:
        return False
    return "Retry-After" in headers or any(left == 0 for left, _ in _counters(headers))


def requested_delay(headers: Mapping[str, str], timing: Timing) -> float | None:
    """Return the seconds that a response asks to wait, None if it asks for no delay.

    `Retry-After` comes first (RFC 9110). Then the time at which an exhausted limit is renewed, in the headers of GitHub
    (`x-ratelimit-reset`), GitLab (`ratelimit-reset`) and the IETF's drafts (`RateLimit: "a";r=0;t=30`).
    """
    asked = retry_after(headers, timing)
    if asked is not None:
        return asked
    resets = [_from_now(reset, headers, timing) for left, reset in _counters(headers) if left == 0 and reset]
    return max((reset for reset in resets if reset is not None), default=None)


def retry_after(headers: Mapping[str, str], timing: Timing) -> float | None:
    """Return the seconds in `Retry-After` (RFC 9110 section 10.2.3: a number or a date), None without such a header.

    A date is compared with the Date of the response, since the local clock may be wrong by a year.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until = _epoch_seconds(text)
    if until is None:
        return None
    now = _epoch_seconds(headers.get("Date", ""))
    return max(0.0, until - (timing.wall() if now is None else now))


def _epoch_seconds(date: str) -> float | None:
    """Return an HTTP date as seconds since the epoch, None if it is malformed."""
    try:
        seconds: float = parsedate_to_datetime(date).timestamp()
        return seconds
    except (ValueError, TypeError, OverflowError):
        return None


def _counters(headers: Mapping[str, str]) -> Iterator[tuple[int, int | None]]:
    """Yield the requests that are left of each limit, and the time of its renewal, None if the header lacks it."""
    for kind in _KINDS:
        left, reset = (_NUMBER.match(headers.get(f"{kind}-{name}", "").strip()) for name in ("remaining", "reset"))
        if left:
            yield int(left[0]), int(reset[0]) if reset else None
        text = headers.get(kind, "").lower()
        together = dict(_FIELD.findall(text))
        if "remaining" in together:
            yield int(together["remaining"]), int(together["reset"]) if "reset" in together else None
        for policy in text.split(","):
            fields = dict(_FIELD.findall(policy))
            if "r" in fields:
                yield int(fields["r"]), int(fields["t"]) if "t" in fields else None


def _from_now(reset: int, headers: Mapping[str, str], timing: Timing) -> float | None:
    if reset < _EPOCH:
        return float(reset)
    date = formatdate(min(reset if reset < 1000 * _EPOCH else reset // 1000, _LAST), usegmt=True)
    return retry_after({"Retry-After": date, "Date": headers.get("Date", "")}, timing)
