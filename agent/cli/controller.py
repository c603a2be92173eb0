"""`agent controller`: the Tekton controller."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from agent.cli.invocation.help_example import example
from agent.cli.terminal.failure import redact
from agent.errors import UsageError

_EXTRA = ("aiohttp", "kopf", "prometheus_client")
ALL_ADDRESSES = "0.0.0.0:8080"  # probes and Prometheus connect from outside of the pod


@click.command("controller", epilog=example("agent controller --config controller.yaml --namespace ci"))
@click.option(
    "--config", metavar="FILE", required=True, help="Image, defaults and policy, see docs/reference/controller.md."
)
@click.option(
    "--namespace", "namespaces", metavar="NAME", multiple=True, help="Serve this namespace, not all. Repeatable."
)
@click.option(
    "--listen", metavar="HOST:PORT", default=ALL_ADDRESSES, show_default=True, help="The address of metrics and health."
)
@click.option("--ca-file", metavar="FILE", help="Trust these certificates (PEM) of registries, too.")
@click.option("--webhook", metavar="HOST:PORT", help="Review runs there, see docs/reference/lookup.md.")
@click.option("--certificate", metavar="DIR", help="The webhook's tls.crt and tls.key.")
@click.option("--webhook-only", is_flag=True, help="Review runs, and do nothing else.")
@click.option("--lookup-field", is_flag=True, help="Keep the field spec.lookup in Tekton's CRDs.")
@click.pass_context
def command(
    context: click.Context,
    config: str,
    namespaces: tuple[str, ...],
    listen: str,
    ca_file: str | None,
    webhook: str | None,
    certificate: str | None,
    webhook_only: bool,
    lookup_field: bool,
) -> None:
    """Wrap the Pipelines of a cluster, and look up the references of runs in bundles.

    It answers the resolvers wrap and lookup, runs the custom task OCIPipeline, and reviews runs with --webhook.

    The cluster is that of the pod's service account, else that of KUBECONFIG. See config/ for the manifests.
    """
    host, port = _address(listen, "--listen")
    if (webhook is None) != (certificate is None):
        raise UsageError(
            "one of the two is missing", subject="--webhook and --certificate", remedy="give both, or none"
        )
    if webhook_only and webhook is None:
        raise UsageError("there is no webhook", subject="--webhook-only", remedy="give --webhook, too")
    try:
        from agent.controller.run import Options, serve
        from agent.controller.serve.webhook import Webhook
        from agent.controller.telemetry.logs import set_up_logs
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    set_up_logs(redact, debug=bool(context.find_root().params.get("debug")))
    reviewed = Webhook(*_address(webhook, "--webhook"), certificate) if webhook and certificate else None
    options = Options(
        _installation(config), namespaces, host, port, ca_file, reviewed, webhook_only, keeps_field=lookup_field
    )
    asyncio.run(serve(options))


def _installation(path: str) -> Any:
    from agent.tekton.model.documents import read
    from agent.tekton.pipeline.installation import parse_installation

    try:
        with click.open_file(path, encoding="utf-8") as stream:
            found = read(stream.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot be read: {reason}", subject=path, remedy="name a file that can be read") from error
    if len(found) > 1:
        raise UsageError("it has several documents", subject=path, remedy="write one mapping")
    return parse_installation(found[0] if found else {}, path)


def _address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError("it is no address", subject=f"{option} {text}", remedy="write HOST:PORT, such as 0.0.0.0:8080")
    return host.strip("[]"), int(port)


def _not_installed(error: ModuleNotFoundError) -> UsageError:
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRA:
        raise error
    return UsageError(
        f"it needs {name}, which is not installed",
        subject="agent controller",
        remedy="install it with its extra: pip install '.[controller]' in a copy of the repository",
    )
