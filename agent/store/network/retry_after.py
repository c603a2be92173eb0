"""Whether an answer says "later", and how much later. Pure.

Registries, and the proxies, content networks and object stores around them, say it in many ways: by a status, by
`Retry-After` beside a status that means something else, by an error code, by counters that are at zero, or in words. A
refusal that says none of that is one for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate

from agent.store.network.problem import Problem
from agent.store.network.retrying import Timing, retry_after

STATUSES = frozenset({408, 420, 425, 429, 500, 502, 503, 504, 509, 529, 530, 598, 599, *range(520, 528)})
"""Statuses that say nothing about the request itself. Those from 520 on are Cloudflare's and other networks'."""

_FOR_GOOD = frozenset({401, 404, 405, 410, 501})
"""Statuses that a time to wait beside them does not change: a login is lacking, or what was asked for."""
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


def says_later(problem: Problem, headers: Mapping[str, str]) -> bool:
    """Say whether a refusal passes by itself."""
    status = problem.status
    if status in STATUSES:
        return True
    if problem.codes & _CODES or (status != 404 and problem.says(*_WORDS)):
        return True
    if status in _FOR_GOOD:
        return False
    return "Retry-After" in headers or any(left == 0 for left, _ in _counters(headers))


def seconds_asked(headers: Mapping[str, str], timing: Timing) -> float | None:
    """Return the seconds that an answer asks to wait, None if it does not say.

    `Retry-After` goes first (RFC 9110); then the time at which a limit that is used up is renewed, as GitHub
    (`x-ratelimit-reset`), GitLab (`ratelimit-reset`) and the IETF's drafts (`RateLimit: "a";r=0;t=30`) give it.
    """
    asked = retry_after(headers, timing)
    if asked is not None:
        return asked
    resets = [_from_now(reset, headers, timing) for left, reset in _counters(headers) if left == 0 and reset]
    return max((reset for reset in resets if reset is not None), default=None)


def _counters(headers: Mapping[str, str]) -> Iterator[tuple[int, int | None]]:
    """Yield how many requests are left of each limit, and when it is renewed, if that is said."""
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
