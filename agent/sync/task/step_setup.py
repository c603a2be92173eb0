"""The set-up of the two steps around a task: checks, directories, environment, and the options of pull and push."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from agent.core.model.pod import Pod
from agent.core.spelling.reference import Reference
from agent.errors import AgentError, AuthError, DivergedError, UnavailableError, UsageError
from agent.store.port import Store
from agent.sync.local.interrupted_pull import interrupted_pull
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.workspace_context import check_outside
from agent.sync.task.argument import StepArgument, StepWorkspace
from agent.workspace.filesystem.container_start import container_started
from agent.workspace.filesystem.path_containment import lies_inside
from agent.workspace.state.state_file import read_state

DIRECTORIES = ("home", "tmp", "cache", "state")
"""The directories of the steps in their volume, beside the report."""


def check_places(argument: StepArgument) -> None:
    """Check that all files and directories of the argument are there, without a request to a registry.

    Raises:
        UsageError: one is not.
    """
    _check_directory(argument.volume, "volume", writable=True)
    if argument.ca_file is not None and not os.path.isfile(argument.ca_file):
        raise UsageError("there is no such file", subject=f"ca-file {argument.ca_file}", remedy="mount it there")
    images = [image for each in argument.workspaces for image in (each.target, each.base) if image is not None]
    for workspace in argument.workspaces:
        subject = f"workspace {workspace.name}"
        _check_directory(workspace.directory, subject, writable=not workspace.read_only)
        if lies_inside(argument.volume, workspace.directory):
            raise UsageError(
                f"the steps' volume, {argument.volume}, lies in {workspace.directory}",
                subject=subject,
                remedy="mount the volume outside of every workspace",
            )
        for image in images:
            check_outside(image, workspace.directory)


def make_places(argument: StepArgument) -> None:
    """Make the directories of the steps in their volume; each step may run as another user.

    Raises:
        UsageError: they cannot be made.
    """
    for name in DIRECTORIES:
        path = os.path.join(argument.volume, name)
        try:
            os.makedirs(path, mode=0o777, exist_ok=True)
        except OSError as error:
            raise _misplaced(path, "volume", os.strerror(error.errno or 0).lower()) from error


def step_environment(environ: dict[str, str], argument: StepArgument) -> dict[str, str]:
    """Return the environment for a step that got `environ` (docs/reference/steps.md, "The environment").

    A pod template's variables override those of a step, and may be meant for the images of other steps.
    """
    settings = {name: value for name, value in environ.items() if not name.startswith("XDG_") and name not in _REMOVED}
    settings |= {
        "HOME": os.path.join(argument.volume, "home"),
        "TMPDIR": os.path.join(argument.volume, "tmp"),
        "XDG_CACHE_HOME": os.path.join(argument.volume, "cache"),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    if argument.credentials is not None:
        settings["DOCKER_CONFIG"] = os.path.join(argument.credentials, ".docker")
    return settings


_REMOVED = frozenset(
    {
        *("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "INSTEP_STATE", "TEMP", "TMP", "NETRC"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OPENSSL_CONF", "OPENSSL_MODULES"),
    }
)


def state_of(argument: StepArgument, workspace: StepWorkspace) -> str:
    """Return the directory for the state of one workspace."""
    return os.path.join(argument.volume, "state", sha256(workspace.name.encode()).hexdigest()[:32])


def check_step_result(argument: StepArgument) -> None:
    """See that the push step can write its result.

    Raises:
        UsageError: it cannot.
    """
    if argument.step_result is not None:
        _check_directory(os.path.dirname(argument.step_result), "step-result", writable=True)


def check_pulled(argument: StepArgument, workspace: StepWorkspace) -> None:
    """Check that the pull step pulled a workspace.

    Raises:
        DivergedError: it did not, and there was something to pull; or it pulled another target.
        StateDamagedError: its state cannot be read.
    """
    home = state_of(argument, workspace)
    interrupted = interrupted_pull(home, workspace.directory)
    if interrupted is not None:
        remedy = "run the task again in a new pod"
        raise DivergedError(interrupted.what, subject=workspace.directory, remedy=remedy)
    state = read_state(os.path.join(home, "state"))
    if state is None and workspace.fresh:
        return
    if state is None:
        raise DivergedError(
            "nothing was pulled for it, so that it cannot be told what the task changed",
            subject=workspace.directory,
            remedy="run agent step pull before the task, with the same argument and the same volume",
        )
    with state:
        pulled = state.header.get("target")
    if pulled != str(workspace.target):
        raise DivergedError(
            f"it was pulled from {pulled}",
            subject=workspace.directory,
            remedy="give both steps the same argument",
        )


def check_push(store: Store, target: Reference) -> None:
    """Check before a task, which may take long, that the registry will take a push after it.

    Raises:
        AuthError, UnavailableError: it will not.
    """
    try:
        store.check_push()
    except (AuthError, UnavailableError) as error:
        error.what = f"nothing could be pushed there after the task: {error.what}"
        error.subject = str(target)
        raise


def pull_options(argument: StepArgument, workspace: StepWorkspace) -> PullOptions:
    """Return the options of the pull before the task."""
    return PullOptions(
        base=workspace.base,
        base_path=workspace.base_path,
        after=workspace.after,
        lane=workspace.lane,
        attempt=argument.attempt,
        pod=_pod(argument),
        paths=workspace.paths,
        create=True,
        keep=True,
    )


def push_options(argument: StepArgument, workspace: StepWorkspace, lane: str) -> PushOptions:
    """Return the options of the push after the task; `lane` is for a workspace without one."""
    return PushOptions(
        lane=workspace.lane or lane,
        attempt=argument.attempt,
        pod=_pod(argument),
        message=argument.message,
        on_conflict=argument.on_conflict,
        compression=argument.compression,
        # As on a shared volume, a task may remove everything; `pulled` checks that it is the same volume.
        allow_empty=True,
        below=workspace.sub_path,
        pulled=True,
        fresh=workspace.fresh,
    )


def _pod(argument: StepArgument) -> Pod | None:
    """Return the pod of this step. All containers of a pod start together, so that both steps have the same."""
    return None if argument.pod_uid is None else Pod(container_started(), argument.pod_uid)


@contextmanager
def named_in_errors(workspace: StepWorkspace) -> Iterator[None]:
    """Add the workspace's name to the subject of errors."""
    try:
        yield
    except AgentError as error:
        target = str(workspace.target)
        rest = "" if error.subject == target else f", {error.subject}"
        error.subject = f"workspace {workspace.name} at {target}{rest}"
        raise


def _check_directory(path: str, subject: str, *, writable: bool) -> None:
    if not os.path.isdir(path):
        raise _misplaced(path, subject, "there is no such directory")
    if writable and not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        raise _misplaced(path, subject, "this user cannot write there")


def _misplaced(path: str, subject: str, what: str) -> UsageError:
    return UsageError(what, subject=f"{subject}, {path}", remedy="mount a volume there that the step's user can write")
