"""`agent bundle`: write Tekton objects into a bundle, and read them from one."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.parameter_types import REFERENCE
from agent.cli.invocation.session import Session
from agent.cli.invocation.tekton_files import files, read_files
from agent.cli.terminal.output import write
from agent.cli.terminal.report_format import counted
from agent.core.spelling.reference import Reference

if TYPE_CHECKING:
    from agent.sync.commands.store_bundle import Bundle


@click.group("bundle", epilog=example("agent bundle push reg.example.com/team/ci:main -f tekton"))
def command() -> None:
    """Keep Tasks, Pipelines and StepActions in a Tekton bundle: an image that Tekton's resolver bundles reads."""


@command.command("push", epilog=example("agent bundle push reg.example.com/team/ci:main -f tekton"))
@parameters.target
@files
@parameters.session()
def push(session: Session, target: Reference, paths: tuple[str, ...]) -> None:
    """Put every Tekton object in FILE that is no run into the bundle TARGET.

    The same objects give the same digest. A bundle has at most 20 objects.
    """
    from agent.sync.commands.store_bundle import push_bundle
    from agent.tekton.requests.bundle_image import belongs_in_bundle

    given = [document for _, document in read_files(paths)]
    left_out = Counter(str(document.get("kind")) for document in given if not belongs_in_bundle(document))
    if left_out:
        kinds = ", ".join(counted(count, kind) for kind, count in sorted(left_out.items()))
        session.display().notice(f"left out of the bundle: {kinds}")
    with session.stores() as open_store:
        bundle = push_bundle(
            open_store(target), target, [document for document in given if belongs_in_bundle(document)]
        )
    if session.json:
        session.print_json({**_to_json(bundle), **session.remarks()})
        return
    session.print_lines([f"{target}@{bundle.digest}"])
    session.say(f"agent: pushed {counted(len(bundle.members), 'object')}: {', '.join(map(str, bundle.members))}")


@command.command("list", epilog=example("agent bundle list reg.example.com/team/ci:main"))
@click.argument("bundle", metavar="BUNDLE", type=REFERENCE)
@parameters.session()
def list_(session: Session, bundle: Reference) -> None:
    """Print kind, name and apiVersion of each object in BUNDLE."""
    from agent.sync.commands.store_bundle import read_bundle

    with session.stores() as open_store:
        found = read_bundle(open_store(bundle), bundle)
    if session.json:
        session.print_json({**_to_json(found), **session.remarks()})
        return
    session.print_lines([f"{member.kind}  {member.name}  {member.api_version}" for member in found.members])


@command.command("get", epilog=example("agent bundle get reg.example.com/team/ci:main build --kind task"))
@click.argument("bundle", metavar="BUNDLE", type=REFERENCE)
@click.argument("name", metavar="NAME")
@click.option("--kind", metavar="KIND", default="", help="Such as task, where the bundle has several of that name.")
@parameters.session()
def get(session: Session, bundle: Reference, name: str, kind: str) -> None:
    """Print the object NAME of BUNDLE as YAML."""
    from agent.sync.commands.store_bundle import read_bundle, read_object
    from agent.tekton.model import documents

    with session.stores() as open_store:
        store = open_store(bundle)
        found = read_bundle(store, bundle)
        value = read_object(store, found, kind, name)
    if session.json:
        session.print_json({"bundle": str(bundle), "digest": found.digest, "object": value, **session.remarks()})
        return
    write(documents.write([value]).encode())


def _to_json(bundle: Bundle) -> dict[str, Any]:
    members = [asdict(member) for member in bundle.members]
    return {"bundle": str(bundle.reference), "digest": bundle.digest, "objects": members}
