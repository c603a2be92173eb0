"""The configuration file of the controller, parsed (docs/reference/controller.md, "Options")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from agent.core.spelling.duration import EXAMPLES, parse_duration
from agent.errors import UsageError
from agent.tekton.model.fields import Object
from agent.tekton.model.timeouts import check_timeout
from agent.tekton.model.wrapping import NO_DEFAULTS, Defaults, Form, OnConflict, ResultsFrom, Settings

DEADLINE = 60
"""Seconds that Tekton waits for an answer by default (`default-maximum-resolution-timeout`)."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The configuration of an installation.

    Attributes:
        deadline: seconds after which Tekton gives up on a ResolutionRequest.
    """

    settings: Settings
    defaults: Defaults = NO_DEFAULTS
    deadline: int = DEADLINE


def parse_installation(config: Object, where: str) -> Installation:
    """Return an installation's configuration.

    Args:
        config: the file's keys and values. All but `image` are optional.
        where: the file's name, for errors.

    Raises:
        UsageError: a key is unknown, a value has a wrong type, or `image` is missing.
    """
    for key in config:
        if key not in _KEYS:
            raise UsageError("there is no such key", subject=f"{where}, {key}", remedy=f"the keys are {_KNOWN}")
    values = {key: _KEYS[key](value, f"{where}, {key}") for key, value in config.items() if value is not None}
    if "image" not in values:
        raise UsageError("it is missing", subject=f"{where}, image", remedy="name the image of the agent's steps")
    settings = {_FIELDS[key]: value for key, value in values.items() if key in _FIELDS}
    defaults = {key.replace("-", "_"): value for key, value in values.items() if key in _DEFAULTS}
    return Installation(Settings(**settings), Defaults(**defaults), values.get("resolution-timeout", DEADLINE))


def _word(value: Any, subject: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("it is no text", subject=subject, remedy="write a word, or leave it out")
    return value


def _flag(value: Any, subject: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError("it is neither true nor false", subject=subject, remedy="write one of them")
    return value


def _seconds(value: Any, subject: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 10:
        raise UsageError("it is no number of seconds from 10 on", subject=subject, remedy="write one, such as 60")
    return value


def _timeout(value: Any, subject: str) -> str:
    return check_timeout(str(value), subject)


def _duration(value: Any, subject: str) -> str:
    found = str(value)
    if isinstance(value, bool) or not parse_duration(found):
        raise UsageError(f"it is {found}", subject=subject, remedy=f"write a duration from 1s on, such as {EXAMPLES}")
    return found


def _mapping(value: Any, subject: str) -> Object:
    if not isinstance(value, dict):
        raise UsageError("it is no mapping", subject=subject, remedy="write requests and limits")
    return value


def _choice(kind: Any) -> Callable[[Any, str], str]:
    choices = get_args(kind)

    def chosen(value: Any, subject: str) -> str:
        if value not in choices:
            raise UsageError(f"it is {value!r}", subject=subject, remedy=f"write {' or '.join(choices)}")
        return str(value)

    return chosen


_KEYS: dict[str, Callable[[Any, str], Any]] = {
    "image": _word,
    "resources": _mapping,
    "results-from": _choice(ResultsFrom),
    "plain-http": _flag,
    "ca-config-map": _word,
    "target": _word,
    "base": _word,
    "on-conflict": _choice(OnConflict),
    "form": _choice(Form),
    "step-timeout": _timeout,
    "patience": _duration,
    "step-result": _flag,
    "resolution-timeout": _seconds,
}
_KNOWN = ", ".join(_KEYS)
_FIELDS = {
    "image": "image",
    "resources": "resources",
    "results-from": "results_from",
    "plain-http": "plain_http",
    "ca-config-map": "ca_config_map",
}
_DEFAULTS = ("target", "base", "on-conflict", "form", "step-timeout", "patience", "step-result")
