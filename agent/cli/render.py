"""`agent render`: the controller's rewriting, offline."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import click

from agent.cli.output import write
from agent.cli.progress import warn
from agent.errors import UsageError, WorkspaceError

_SUFFIXES = {".yaml", ".yml", ".json"}
_STDIN = "-"
LARGEST = 64 * 1024 * 1024
"""Bytes of one file."""


@click.command(
    "render",
    epilog="Example: agent render -f examples/simple-pipeline.yaml "
    "--target 'reg.example.com/ws-{{workspace}}:$(context.pipelineRun.name)'",
)
@click.option(
    "--file",
    "-f",
    "paths",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(path_type=str),
    help="YAML, a directory of it, or - for standard input. Repeatable.",
)
@click.option("--target", metavar="IMAGE", help="Where workspaces are kept, with {{workspace}} for the name of each.")
@click.option("--base", metavar="IMAGE", help="The image that workspaces start from.")
@click.option(
    "--workspace",
    "workspaces",
    metavar="NAME",
    multiple=True,
    help="A workspace to wrap, instead of all with an emptyDir. Repeatable.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["last", "fail"]),
    help="What happens when parallel changes disagree: the last one stands, or the task fails.",
)
@click.option("--image", metavar="IMAGE", help="The agent's image, where your cluster finds it.")
@click.option("--plain-http", is_flag=True, help="The steps speak HTTP without TLS.")
@click.option("--ca-config-map", metavar="NAME", help="A ConfigMap whose ca.crt the steps trust, too.")
@click.option(
    "--results-from",
    type=click.Choice(["termination-message", "sidecar-logs"]),
    default="termination-message",
    help="Tekton's feature flag of that name: sidecar-logs lets results of any size pass.",
)
@click.option("--diff", is_flag=True, help="Show what is added, instead.")
def command(paths: tuple[str, ...], diff: bool, **wishes: Any) -> None:
    """Print what the controller would make of the Pipelines and runs in FILE.

    FILE has PipelineRuns, or CustomRuns of OCIPipeline, with their Pipelines and Tasks. The result needs no controller:
    it can be applied as it is. No cluster is asked for anything.
    """
    from agent.tekton import documents
    from agent.tekton.offline import render

    found = [document for name, text in _texts(paths) for document in documents.read(text, name)]
    rendered = render(found, _wish(**wishes))
    if rendered != found and not wishes["image"]:
        warn(f"the steps' image is {default_image()}, which stands for yours; name that with --image")
    after = documents.write(rendered)
    if diff:
        before = documents.write(found).splitlines(keepends=True)
        after = "".join(difflib.unified_diff(before, after.splitlines(keepends=True), "given", "rendered"))
    write(after.encode())


def _wish(image: str | None, plain_http: bool, ca_config_map: str | None, results_from: Any, **words: Any) -> Any:
    from agent.tekton.offline import Wish
    from agent.tekton.wrapping import Settings

    settings = Settings(
        image=image or default_image(),
        plain_http=plain_http,
        ca_config_map=ca_config_map,
        results_from=results_from,
    )
    return Wish(settings, **words)


def default_image() -> str:
    """Return what stands for the agent's image of this version, which is wherever the user keeps it."""
    from importlib.metadata import version

    return f"registry.example.com/instep/agent:{version('instep')}"


def _texts(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for name in _files(path):
            yield name, _read(name)


def _files(path: str) -> Iterator[str]:
    if path == _STDIN or not os.path.isdir(path):
        yield path
        return
    for directory, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            if PurePath(name).suffix in _SUFFIXES:
                yield os.path.join(directory, name)


def _read(name: str) -> str:
    try:
        with click.open_file(name, "rb") as stream:
            data: bytes = stream.read(LARGEST + 1)
    except OSError as error:
        raise WorkspaceError(
            f"cannot be read: {os.strerror(error.errno or 0)}", subject=name, remedy="name a file that can be read"
        ) from error
    if len(data) > LARGEST:
        raise UsageError("larger than 64 MiB", subject=name, remedy="give the files that the run needs")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("not UTF-8", subject=name, remedy="give YAML") from error
