"""The types of arguments and options: a reference, a target, a duration, a limit, each checked when it is parsed."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from agent.archive.stream.limits import OPTIONS
from agent.cli.invocation.session import absolute
from agent.core.spelling.duration import EXAMPLES, parse_duration
from agent.core.spelling.path import show
from agent.core.spelling.reference import Reference, parse_reference
from agent.core.spelling.tags import check_target_tag
from agent.errors import InvalidReferenceError

RESERVED = "dev.instep."


class ReferenceType(click.ParamType):  # type: ignore[type-arg]  # not generic at run time before 8.3
    """An image reference."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        """Return the reference.

        Raises:
            InvalidReferenceError: the value is not a reference.
        """
        return absolute(parse_reference(value))


class TargetType(ReferenceType):
    """The target of a workspace."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        """Return the target.

        Raises:
            InvalidReferenceError: the value is not a reference, has a digest, or has a tag that Instep reserves.
        """
        reference = super().convert(value, param, ctx)
        if reference.digest is not None or reference.tag is None:
            raise InvalidReferenceError(
                "a target is a tag, because a digest never changes",
                subject=str(reference),
                remedy="name registry/repository:tag, and an image to start from with --base",
            )
        check_target_tag(reference.tag)
        return reference


class TextType(click.ParamType):  # type: ignore[type-arg]
    """A text for an image: UTF-8; if `needed`, also not empty and printable."""

    name = "text"

    def __init__(self, *, needed: bool = False) -> None:
        self._needed = needed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("not UTF-8", param, ctx)
        if self._needed and (not value or not value.isprintable()):
            self.fail("empty, or not printable", param, ctx)
        return str(value)


class AnnotationType(TextType):
    """An annotation as KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, checked."""
        key, equals, _ = super().convert(value, param, ctx).partition("=")
        if not equals or not re.fullmatch(r"[!-~]+", key):
            self.fail(f"{show(os.fsencode(value))} is not KEY=VALUE", param, ctx)
        if key.startswith(RESERVED):
            self.fail(f"{key}: keys that start with {RESERVED} say what a layer is", param, ctx)
        return str(value)


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """A duration such as 90s, 30m, 1h or 2d.

    Args:
        least: the shortest duration that is allowed, in seconds.
    """

    name = "duration"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the duration in ns."""
        seconds = parse_duration(str(value))
        if seconds is None:
            self.fail(f"{show(os.fsencode(str(value)))} is no duration, such as {EXAMPLES}", param, ctx)
        if seconds < self._least:
            self.fail(f"{value} is less than {self._least}s", param, ctx)
        return seconds * 10**9


class LimitType(click.ParamType):  # type: ignore[type-arg]
    """A limit and its value; `16Gi` is 16 GiB."""

    name = "name=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return the name and the number."""
        match = re.fullmatch(r"([a-z]+)=([0-9]{1,18})(?:([KMGT])i)?", str(value))
        if not match or match[1] not in OPTIONS or not int(match[2]):
            names = ", ".join(OPTIONS)
            self.fail(f"{show(os.fsencode(str(value)))} is not NAME=N, NAME being one of {names}", param, ctx)
        return match[1], int(match[2]) << _BINARY[match[3]]


_BINARY = {None: 0, "K": 10, "M": 20, "G": 30, "T": 40}
REFERENCE = ReferenceType()
DURATION = DurationType()
LIMIT = LimitType()
TARGET = TargetType()
TEXT = TextType()
LANE = TextType(needed=True)
ANNOTATION = AnnotationType()
