"""The words and options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from agent.archive.stream.limits import OPTIONS, limits_of
from agent.cli.invocation.wiring import Session, absolute
from agent.core.model.pod import Pod
from agent.core.model.record import NUMBER_MAX
from agent.core.spelling.duration import EXAMPLES, format_duration, parse_duration
from agent.core.spelling.path import check_path, show
from agent.core.spelling.reference import Reference, parse_reference
from agent.core.spelling.tags import check_target_tag
from agent.errors import InvalidReferenceError, UnsafeArchiveError, UsageError
from agent.store.network.retrying import PATIENCE_S

_Command = TypeVar("_Command", bound=Callable[..., Any])
RESERVED = "dev.instep."


class ReferenceType(click.ParamType):  # type: ignore[type-arg]  # not generic at run time before 8.3
    """Any image."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        """Return the reference that a word spells.

        Raises:
            InvalidReferenceError: it is none.
        """
        return absolute(parse_reference(value))


class TargetType(ReferenceType):
    """An image that a workspace is kept at."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        """Return the target that a word spells.

        Raises:
            InvalidReferenceError: it is no reference, has a digest, or a tag that is derived from a target's.
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
    """Words that travel in an image: UTF-8, and not empty where `needed`, without control characters."""

    name = "text"

    def __init__(self, *, needed: bool = False) -> None:
        self._needed = needed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the words."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("not UTF-8", param, ctx)
        if self._needed and (not value or not value.isprintable()):
            self.fail("empty, or not printable", param, ctx)
        return str(value)


class AnnotationType(TextType):
    """A key and its value."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the words, checked."""
        key, equals, _ = super().convert(value, param, ctx).partition("=")
        if not equals or not re.fullmatch(r"[!-~]+", key):
            self.fail(f"{show(os.fsencode(value))} is not KEY=VALUE", param, ctx)
        if key.startswith(RESERVED):
            self.fail(f"{key}: keys that start with {RESERVED} say what a layer is", param, ctx)
        return str(value)


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """A duration, as 90s, 30m, 1h or 2d; in ns.

    Args:
        least: the shortest that makes sense, seconds.
    """

    name = "duration"

    def __init__(self, least: int = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return how many ns the words mean."""
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


def apply(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return one decorator of several, so that the help lists them in this order."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def session(*, quiet: bool = False, limits: bool = False) -> Callable[[_Command], _Command]:
    """Give the command a `Session`, with the options for the registry, for what is read from it, and for the output."""

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def with_session(
            *args: Any,
            plain_http: bool,
            ca_file: str | None,
            patience: int,
            as_json: bool,
            quiet: bool = False,
            limit: tuple[tuple[str, int], ...] = (),
            **options: Any,
        ) -> Any:
            allowed = limits_of(dict(limit))
            opened = Session(
                json=as_json,
                quiet=quiet,
                plain_http=plain_http,
                ca_file=ca_file,
                patience=patience / 10**9,
                limits=allowed,
            )
            return command(opened, *args, **options)

        options = [
            click.option("--plain-http", is_flag=True, help="Speak HTTP without TLS; automatic for localhost."),
            click.option("--ca-file", metavar="FILE", help="Trust these certificates (PEM), too."),
            click.option(
                "--patience",
                metavar="DURATION",
                type=DurationType(least=1),
                default=format_duration(PATIENCE_S),
                show_default=True,
                help="How long to go on trying while nothing moves.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object (docs/reference/json.md)."),
        ]
        if limits:
            text = f"How much an image may ask for: {', '.join(OPTIONS)} (docs/explanation/security.md). Repeatable."
            options.insert(3, click.option("--limit", metavar="NAME=N", multiple=True, type=LIMIT, help=text))
        if quiet:
            options.append(click.option("--quiet", "-q", is_flag=True, help="No progress and no summary."))
        return apply(*options)(with_session)  # type: ignore[return-value]

    return decorate


target = click.argument("target", type=TARGET)
directory = click.argument(
    "directory",
    metavar="[DIR]",
    default=".",
    type=click.Path(readable=False, path_type=str),
    shell_complete=lambda ctx, param, incomplete: [CompletionItem(incomplete, type="dir")],
)
state = click.option("--state", metavar="DIR", help="Where to remember what was pulled, instead of the usual place.")

after = click.option(
    "--after", metavar="LANE", multiple=True, type=LANE, help="A lane whose changes must be in it. Repeatable."
)
create = click.option("--create", is_flag=True, help="Start an empty workspace where the target holds nothing yet.")
after_finished = click.option(
    "--after",
    metavar="LANE",
    multiple=True,
    type=LANE,
    help="A lane that is finished, so that nothing of it is retried. Repeatable.",
)
base = apply(
    click.option(
        "--base", metavar="IMAGE", type=REFERENCE, help="The image to start from where the target holds nothing yet."
    ),
    click.option(
        "--base-path", metavar="PATH", help="The directory of the base that becomes DIR, instead of its root."
    ),
)
force = click.option(
    "--force", is_flag=True, help="Discard local changes, or take over a directory with other files in it."
)
paths = click.option(
    "--path",
    "globs",
    metavar="GLOB",
    multiple=True,
    help="Only paths that match, with all above and below. Repeatable.",
)
platform = click.option(
    "--platform", metavar="OS/ARCH", help="What to choose from a multi-platform base, instead of this machine's."
)
verify_whole = click.option("--verify-whole", is_flag=True, help="Read and verify whole layers first, never ranges.")

writer = apply(
    click.option("--lane", metavar="NAME", type=LANE, help="The writer, instead of user@host."),
    click.option(
        "--attempt", metavar="N", type=click.IntRange(0, NUMBER_MAX - 1), help="Which try of the lane this is."
    ),
    click.option(
        "--pod", "pod_uid", metavar="UID", type=LANE, help="Which pod of that try: metadata.uid. The later one counts."
    ),
)
compression = click.option(
    "--compression",
    type=click.Choice(["zstd", "gzip", "none"]),
    default="zstd",
    help="How the layer is packed; gzip for tools that know no zstd.",
)
publishing = apply(
    click.option("--message", "-m", default="", metavar="TEXT", type=TEXT, help="What to say about the change."),
    click.option(
        "--on-conflict",
        type=click.Choice(["last", "fail"]),
        default="last",
        help="What happens when parallel changes disagree: the last one stands, or nothing is published.",
    ),
    compression,
    click.option(
        "--annotation",
        "annotations",
        metavar="K=V",
        multiple=True,
        type=ANNOTATION,
        help="An annotation for the image. Repeatable.",
    ),
)


def pod_of(uid: str | None, attempt: int | None) -> Pod | None:
    """Return the pod that `--pod` names, as one that started when this container did.

    Raises:
        UsageError: there is no attempt that it could be one of.
    """
    if uid is None:
        return None
    if attempt is None:
        remedy = "say with --attempt which try this is, 0 for the first"
        raise UsageError("a pod is one of an attempt", subject=f"--pod {uid}", remedy=remedy)
    from agent.workspace.filesystem.container_start import container_started

    return Pod(container_started(), uid)


def annotation_pairs(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the annotations that `K=V` words spell, sorted by key; the last of a key counts."""
    pairs = dict(word.split("=", 1) for word in words)
    return tuple(sorted(pairs.items()))


def base_path_checked(path: str | None, base: Reference | None) -> bytes:
    """Return the directory of the base that `--base-path` names, from its root; `b""` for the root.

    Raises:
        UsageError: it is no such path, or there is no base.
    """
    if path is None:
        return b""
    name = os.fsencode(path).strip(b"/")
    try:
        if base is None:
            raise UsageError("there is no base", subject=f"--base-path {path}", remedy="name one with --base")
        return check_path(name) if name else b""
    except UnsafeArchiveError as error:
        remedy = "write it from the base's root, without . and .."
        raise UsageError("not a path below the root", subject=f"--base-path {path}", remedy=remedy) from error


def globs_as_bytes(words: Sequence[str]) -> tuple[bytes, ...]:
    """Return the globs of `--path`.

    Raises:
        UsageError: one is empty.
    """
    if any(not word.strip("/") for word in words):
        raise UsageError("the glob is empty", subject="--path", remedy="name a path, or leave --path out for all")
    return tuple(os.fsencode(word) for word in words)


def platform_checked(text: str | None) -> str | None:
    """Return `text` if it is os/architecture[/variant].

    Raises:
        UsageError: it is not.
    """
    if text is not None and not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?", text):
        raise UsageError("not os/architecture", subject=f"--platform {text}", remedy="write it as linux/arm64")
    return text
