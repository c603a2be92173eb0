"""The arguments and options that several commands share, and the checked values of options."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from agent.archive.stream.limits import OPTIONS, limits_of
from agent.cli.invocation.parameter_types import ANNOTATION, LANE, LIMIT, REFERENCE, TARGET, TEXT, DurationType
from agent.cli.invocation.session import Session, default_lane
from agent.core.model.pod import Pod
from agent.core.model.record import NUMBER_MAX
from agent.core.spelling.duration import format_duration
from agent.core.spelling.path import check_path
from agent.core.spelling.reference import Reference
from agent.errors import UnsafeArchiveError, UsageError
from agent.store.network.retrying import PATIENCE_S

if TYPE_CHECKING:
    from agent.sync.operation.options import Compression, OnConflict, PushOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])


def apply(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return one decorator that applies several. The help lists their options in this order."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def session(*, quiet: bool = False, limits: bool = False) -> Callable[[_Command], _Command]:
    """Pass a `Session` to the command, and add the options for the registry, the limits and the output."""

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

        return apply(*_session_options(quiet=quiet, limits=limits))(with_session)  # type: ignore[return-value]

    return decorate


def _session_options(*, quiet: bool, limits: bool) -> list[Callable[[_Command], _Command]]:
    """Return the options of `session`, in the order in which the help lists them."""
    options = [
        click.option("--plain-http", is_flag=True, help="Speak HTTP without TLS; automatic for localhost."),
        click.option("--ca-file", metavar="FILE", help="Trust these certificates (PEM), too."),
        click.option(
            "--patience",
            metavar="DURATION",
            type=DurationType(least=1),
            default=format_duration(PATIENCE_S),
            show_default=True,
            help="How long to retry while nothing moves.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object (docs/reference/json.md)."),
    ]
    if limits:
        text = f"How much an image may ask for: {', '.join(OPTIONS)} (docs/explanation/security.md). Repeatable."
        options.insert(3, click.option("--limit", metavar="NAME=N", multiple=True, type=LIMIT, help=text))
    if quiet:
        options.append(click.option("--quiet", "-q", is_flag=True, help="No progress and no summary."))
    return options


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
        help="What happens when parallel changes disagree: the last one wins, or nothing is published.",
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


def push_options(
    *,
    lane: str | None,
    attempt: int | None,
    pod_uid: str | None,
    message: str,
    on_conflict: OnConflict,
    compression: Compression,
    annotations: Sequence[str],
) -> PushOptions:
    """Return the options of a push, from the values of `publishing` and `writer`.

    Raises:
        UsageError: as `pod_of`.
    """
    from agent.sync.operation.options import PushOptions

    return PushOptions(
        lane=lane or default_lane(),
        attempt=attempt,
        pod=pod_of(pod_uid, attempt),
        message=message,
        annotations=annotation_pairs(annotations),
        on_conflict=on_conflict,
        compression=compression,
    )


def pod_of(uid: str | None, attempt: int | None) -> Pod | None:
    """Return the pod that `--pod` names, with the start of this container as its start.

    Raises:
        UsageError: `--attempt` is missing.
    """
    if uid is None:
        return None
    if attempt is None:
        remedy = "say with --attempt which try this is, 0 for the first"
        raise UsageError("a pod is one of an attempt", subject=f"--pod {uid}", remedy=remedy)
    from agent.workspace.filesystem.container_start import container_started

    return Pod(container_started(), uid)


def annotation_pairs(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return annotations from `K=V` texts, sorted by key. The last value of a key counts."""
    pairs = dict(word.split("=", 1) for word in words)
    return tuple(sorted(pairs.items()))


def base_path_checked(path: str | None, base: Reference | None) -> bytes:
    """Return the directory of the base that `--base-path` names, relative to the root; `b""` for the root.

    Raises:
        UsageError: the path is not below the root, or there is no base.
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
    """Return the globs of `--path`, as bytes.

    Raises:
        UsageError: a glob is empty.
    """
    if any(not word.strip("/") for word in words):
        raise UsageError("the glob is empty", subject="--path", remedy="name a path, or leave --path out for all")
    return tuple(os.fsencode(word) for word in words)


def platform_checked(text: str | None) -> str | None:
    """Return `text` if it is os/architecture[/variant].

    Raises:
        UsageError: it has another form.
    """
    if text is not None and not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?", text):
        raise UsageError("not os/architecture", subject=f"--platform {text}", remedy="write it as linux/arm64")
    return text
