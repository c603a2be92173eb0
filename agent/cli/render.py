"""`agent render`: print what the controller would make of Tekton objects, without a cluster."""

from __future__ import annotations

import difflib
from typing import Any

import click

from agent.cli.invocation.help_example import example
from agent.cli.invocation.parameter_types import DurationType
from agent.cli.invocation.session import Session
from agent.cli.invocation.tekton_files import files, read_files
from agent.cli.terminal.output import write
from agent.cli.terminal.progress import warn
from agent.core.spelling.duration import format_duration
from agent.store.network.retrying import PATIENCE_S


@click.command(
    "render",
    epilog=example(
        "agent render -f examples/simple-pipeline.yaml \\",
        "  --target 'reg.example.com/ws-{{workspace}}:$(context.pipelineRun.name)'",
    ),
)
@files
@click.option("--target", metavar="IMAGE", help="The target of workspaces, with {{workspace}} for the name of each.")
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
    help="What happens when parallel changes disagree: the last one wins, or the task fails.",
)
@click.option(
    "--step-timeout", metavar="TIME", help="How long each of the steps may take, such as 30m; 0 for no limit."
)
@click.option(
    "--patience",
    metavar="DURATION",
    type=DurationType(least=1),
    help="How long the steps, and this command, retry while nothing moves.  [2m]",
)
@click.option("--no-step-result", is_flag=True, help="The push step has no step result, for Tekton before 1.0.")
@click.option("--image", metavar="IMAGE", help="The agent's image, where your cluster finds it.")
@click.option("--plain-http", is_flag=True, help="The steps speak HTTP without TLS.")
@click.option("--ca-config-map", metavar="NAME", help="A ConfigMap whose ca.crt the steps trust, too.")
@click.option(
    "--results-from",
    type=click.Choice(["termination-message", "sidecar-logs"]),
    default="termination-message",
    help="Tekton's feature flag of that name: sidecar-logs lets results of any size pass.",
)
@click.option(
    "--lookup-bundle",
    "lookup",
    metavar="BUNDLE",
    help="Look up all references of runs in this bundle, and leave out the objects that belong in a bundle.",
)
@click.option(
    "--rewrite-bundle",
    "bundle_rewrites",
    metavar="OLD=NEW",
    multiple=True,
    help="Replace bundle OLD by NEW in references; OLD without tag and digest matches any of them. Repeatable.",
)
@click.option("--diff", is_flag=True, help="Show the difference instead.")
def command(paths: tuple[str, ...], diff: bool, **options: Any) -> None:
    """Print what the controller would make of the Pipelines and runs in FILE.

    FILE has PipelineRuns, or CustomRuns of OCIPipeline, with their Pipelines and Tasks. The result needs no controller:
    it can be applied as it is. No cluster is asked. The objects that a run looks up in a bundle are written into it.
    """
    from agent.sync.commands.store_bundle import Bundles
    from agent.tekton.frontends.render_objects import render
    from agent.tekton.model import documents

    found = [document for _, document in read_files(paths)]
    patience = PATIENCE_S if options["patience"] is None else options["patience"] / 10**9
    with Session(plain_http=options["plain_http"], patience=patience).stores() as open_store:
        after = documents.write(render(found, _render_options(**options), Bundles(open_store), warn))
    if default_image() in after and not options["image"]:
        warn(f"the steps' image is {default_image()}, which is a placeholder; name yours with --image")
    if diff:
        before = documents.write(found).splitlines(keepends=True)
        after = "".join(difflib.unified_diff(before, after.splitlines(keepends=True), "given", "rendered"))
    write(after.encode())


def _render_options(
    image: str | None,
    plain_http: bool,
    ca_config_map: str | None,
    results_from: Any,
    patience: int | None,
    no_step_result: bool,
    bundle_rewrites: tuple[str, ...],
    **others: Any,
) -> Any:
    from agent.tekton.frontends.render_request import RenderOptions
    from agent.tekton.lookup.bundle_rewrite import parse_bundle_rewrite
    from agent.tekton.model.timeouts import check_timeout
    from agent.tekton.model.wrapping import Settings

    if others["step_timeout"] is not None:
        check_timeout(others["step_timeout"], "--step-timeout")

    settings = Settings(
        image=image or default_image(),
        plain_http=plain_http,
        ca_config_map=ca_config_map,
        results_from=results_from,
    )
    return RenderOptions(
        settings,
        patience=None if patience is None else format_duration(patience / 10**9),
        step_result=False if no_step_result else None,
        bundle_rewrites=tuple(map(parse_bundle_rewrite, bundle_rewrites)),
        **others,
    )


def default_image() -> str:
    """Return the placeholder for the agent's image of this version: only the user knows where the image is."""
    from importlib.metadata import version

    return f"registry.example.com/instep/agent:{version('instep')}"
