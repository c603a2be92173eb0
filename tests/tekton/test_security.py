"""Whom the agent's steps run as: somebody that can read what the task's steps write, or words that say who cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.pod_template import Pod, pod_of
from agent.tekton.wrap.security import identity, security_context
from tests.property.edits import laws

IMAGES_USER = 0
"""Of the agent's image, and of a step's that says nothing."""


def steps(*users: int | None, **context: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"s{index}", "securityContext": ({} if user is None else {"runAsUser": user}) | context}
        for index, user in enumerate(users)
    ]


def template(**context: Any) -> dict[str, Any]:
    return {"securityContext": context}


def effective(own: Any, shared: Any, pod: Pod) -> dict[str, Any]:
    """The security context of a container, as Tekton merges and Kubernetes inherits it."""
    return {"runAsUser": pod.user, "runAsNonRoot": pod.is_non_root, **shared, **own}


def starts(context: dict[str, Any]) -> bool:
    """Say whether the kubelet starts a container with it."""
    user = IMAGES_USER if context["runAsUser"] is None else context["runAsUser"]
    return not (context.get("runAsNonRoot") and user == 0)


users = st.sampled_from([None, 0, 1000, 2000])
contexts = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from([0, 1000, 2000]),
        "runAsNonRoot": st.booleans(),
        "runAsGroup": st.sampled_from([5, 6]),
    },
)
drops = st.sampled_from([{}, {"capabilities": {"drop": ["ALL"]}}, {"capabilities": {"drop": ["NET_RAW"]}}])
pods = st.builds(Pod, user=users, is_non_root=st.booleans())


@laws
@given(st.lists(contexts, min_size=1, max_size=3), st.builds(lambda a, b: {**a, **b}, contexts, drops), pods)
def test_it_can_read_all_that_the_steps_write_or_says_that_it_cannot(
    own: list[dict[str, Any]], shared: dict[str, Any], pod: Pod
) -> None:
    """A model of the kubelet and of file modes: what is not said has to work."""
    given_steps = [{"name": f"s{index}", "securityContext": context} for index, context in enumerate(own)]
    theirs = [effective(context, shared, pod) for context in own]
    who = identity(given_steps, {"securityContext": shared}, pod, "x")
    merged = effective(security_context(who, {"securityContext": shared}, "x"), shared, pod)
    if not all(map(starts, theirs)):
        return  # the task cannot run, wrapped or not
    assert starts(merged)
    user = IMAGES_USER if merged["runAsUser"] is None else merged["runAsUser"]
    writers = {IMAGES_USER if context["runAsUser"] is None else context["runAsUser"] for context in theirs}
    # It is root only if a step of the task is, or if it would be as any container that says nothing of it.
    assert user != 0 or 0 in writers or effective({}, shared, pod)["runAsUser"] in (None, 0)
    reads_others = user == 0 and "ALL" not in merged.get("capabilities", {}).get("drop", [])
    if who.trouble is None:
        assert reads_others or writers == {user}
    else:
        assert not reads_others
        assert len(writers) > 1


@laws
@given(st.lists(contexts, min_size=1, max_size=3), contexts, pods)
def test_who_certainly_is_not_root_has_no_capabilities(
    own: list[dict[str, Any]], shared: dict[str, Any], pod: Pod
) -> None:
    given_steps = [{"name": f"s{index}", "securityContext": context} for index, context in enumerate(own)]
    who = identity(given_steps, {"securityContext": shared}, pod, "x")
    found = security_context(who, {"securityContext": shared}, "x")
    merged = effective(found, shared, pod)
    cannot_be_root = bool(merged["runAsUser"]) or bool(merged.get("runAsNonRoot"))
    assert ("capabilities" in found) == cannot_be_root


@pytest.mark.parametrize(
    ("given_steps", "shared", "pod", "user"),
    [
        # All agree.
        (steps(None, None), {}, Pod(), None),
        (steps(7, 7), {}, Pod(), 7),
        (steps(None, None), {"runAsUser": 7}, Pod(), 7),
        (steps(None), {}, Pod(user=7), 7),
        # One of them is root.
        (steps(None, 0), {"runAsUser": 12345}, Pod(), 0),
        (steps(12345, 0), {}, Pod(), 0),
        (steps(None, 0), {}, Pod(user=12345), 0),
        (steps(None, 0), {"runAsUser": 12345}, Pod(user=7), 0),
        # One of them may be, since its image decides: as it, the agent's image decides.
        (steps(12345, None), {}, Pod(), None),
        # None of them is.
        (steps(None, 12346), {"runAsUser": 12345}, Pod(), 12345),
        (steps(None, 12346), {}, Pod(user=12345), 12345),
        (steps(12345, 12346), {}, Pod(), None),
        (steps(12345, 12346), {"runAsNonRoot": True}, Pod(), 12346),
        (steps(12345, 12346, runAsNonRoot=True), {}, Pod(), 12346),
        (steps(12345, None), {}, Pod(is_non_root=True), 12345),
        # A StepAction runs as the templates say, unless it says otherwise, which is not known.
        ([*steps(12345), {"name": "r", "ref": {"name": "act"}}], {}, Pod(), None),
        ([{"name": "r", "ref": {"name": "act"}}], {"runAsUser": 12345}, Pod(), 12345),
    ],
)
def test_the_user(given_steps: list[Any], shared: dict[str, Any], pod: Pod, user: int | None) -> None:
    who = identity(given_steps, {"securityContext": shared}, pod, "x")
    assert who.user == user


def test_root_that_one_step_was_allowed_is_allowed_to_the_agent() -> None:
    allowed = [*steps(1000), *steps(0, runAsNonRoot=False)]
    who = identity(allowed, template(runAsNonRoot=True), Pod(), "x")
    assert security_context(who, template(runAsNonRoot=True), "x")["runAsNonRoot"] is False
    who = identity(allowed, {}, Pod(is_non_root=True), "x")
    assert who.fields == {"runAsUser": 0, "runAsNonRoot": False}
    # A root that the kubelet does not start is none.
    assert identity(steps(1000, 0), template(runAsNonRoot=True), Pod(), "x").user == 1000
    assert identity(steps(None, 0), template(runAsNonRoot=True), Pod(), "x").user is None


def test_what_cannot_be_read_is_told_with_the_users_and_the_way_out() -> None:
    who = identity(steps(None, 2000), template(runAsUser=1000), Pod(), "x")
    assert who.trouble == (
        "its steps run as different users (1000, 2000), and the agent's steps run as 1000: they cannot push a file "
        "that another user keeps to itself (mode 0600); give all steps of the task one runAsUser"
    )
    weak = identity(steps(None, 0), template(runAsUser=1000, capabilities={"drop": ["ALL"]}), Pod(), "x")
    assert "run as root without the capability DAC_OVERRIDE" in str(weak.trouble)
    strong = template(runAsUser=1000, capabilities={"drop": ["ALL"], "add": ["DAC_OVERRIDE"]})
    assert identity(steps(None, 0), strong, Pod(), "x").trouble is None


@pytest.mark.parametrize("user", ["root", [1], {}, 1.5, True])
def test_a_user_that_is_no_number_is_refused_by_name(user: Any) -> None:
    with pytest.raises(UnwrappableError, match="runAsUser is not a number"):
        identity(steps(user, 0), {}, Pod(), "x")
    with pytest.raises(UnwrappableError, match="runAsUser is not a number"):
        pod_of(template(runAsUser=user), "x")
