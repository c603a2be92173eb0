"""Whom the agent's steps run as: somebody that can read what the task's steps write, or words that say who cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.pod_template import PodTemplate, parse_pod_template
from agent.tekton.wrap.security import choose_step_user, security_context
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


def effective(own: Any, shared: Any, pod: PodTemplate) -> dict[str, Any]:
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
pods = st.builds(PodTemplate, user=users, is_non_root=st.booleans())


@laws
@given(st.lists(contexts, min_size=1, max_size=3), st.builds(lambda a, b: {**a, **b}, contexts, drops), pods)
def test_it_can_read_all_that_the_steps_write_or_says_that_it_cannot(
    own: list[dict[str, Any]], shared: dict[str, Any], pod: PodTemplate
) -> None:
    """A model of the kubelet and of file modes: what is not said has to work."""
    given_steps = [{"name": f"s{index}", "securityContext": context} for index, context in enumerate(own)]
    theirs = [effective(context, shared, pod) for context in own]
    step_user = choose_step_user(given_steps, {"securityContext": shared}, pod, "x")
    merged = effective(security_context(step_user, {"securityContext": shared}, "x"), shared, pod)
    if not all(map(starts, theirs)):
        return  # the task cannot run, wrapped or not
    assert starts(merged)
    user = IMAGES_USER if merged["runAsUser"] is None else merged["runAsUser"]
    writers = {IMAGES_USER if context["runAsUser"] is None else context["runAsUser"] for context in theirs}
    # It is root only if a step of the task is, or if it would be as any container that says nothing of it.
    assert user != 0 or 0 in writers or effective({}, shared, pod)["runAsUser"] in (None, 0)
    reads_others = user == 0 and "ALL" not in merged.get("capabilities", {}).get("drop", [])
    if step_user.warning is None:
        assert reads_others or writers == {user}
    else:
        assert not reads_others
        assert len(writers) > 1


@laws
@given(st.lists(contexts, min_size=1, max_size=3), contexts, pods)
def test_who_certainly_is_not_root_has_no_capabilities(
    own: list[dict[str, Any]], shared: dict[str, Any], pod: PodTemplate
) -> None:
    given_steps = [{"name": f"s{index}", "securityContext": context} for index, context in enumerate(own)]
    step_user = choose_step_user(given_steps, {"securityContext": shared}, pod, "x")
    found = security_context(step_user, {"securityContext": shared}, "x")
    merged = effective(found, shared, pod)
    cannot_be_root = bool(merged["runAsUser"]) or bool(merged.get("runAsNonRoot"))
    assert ("capabilities" in found) == cannot_be_root


@pytest.mark.parametrize(
    ("given_steps", "shared", "pod", "user"),
    [
        # All agree.
        (steps(None, None), {}, PodTemplate(), None),
        (steps(7, 7), {}, PodTemplate(), 7),
        (steps(None, None), {"runAsUser": 7}, PodTemplate(), 7),
        (steps(None), {}, PodTemplate(user=7), 7),
        # One of them is root.
        (steps(None, 0), {"runAsUser": 12345}, PodTemplate(), 0),
        (steps(12345, 0), {}, PodTemplate(), 0),
        (steps(None, 0), {}, PodTemplate(user=12345), 0),
        (steps(None, 0), {"runAsUser": 12345}, PodTemplate(user=7), 0),
        # One of them may be, since its image decides: as it, the agent's image decides.
        (steps(12345, None), {}, PodTemplate(), None),
        # None of them is.
        (steps(None, 12346), {"runAsUser": 12345}, PodTemplate(), 12345),
        (steps(None, 12346), {}, PodTemplate(user=12345), 12345),
        (steps(12345, 12346), {}, PodTemplate(), None),
        (steps(12345, 12346), {"runAsNonRoot": True}, PodTemplate(), 12346),
        (steps(12345, 12346, runAsNonRoot=True), {}, PodTemplate(), 12346),
        (steps(12345, None), {}, PodTemplate(is_non_root=True), 12345),
        # A StepAction runs as the templates say, unless it says otherwise, which is not known.
        ([*steps(12345), {"name": "r", "ref": {"name": "act"}}], {}, PodTemplate(), None),
        ([{"name": "r", "ref": {"name": "act"}}], {"runAsUser": 12345}, PodTemplate(), 12345),
    ],
)
def test_the_user(given_steps: list[Any], shared: dict[str, Any], pod: PodTemplate, user: int | None) -> None:
    step_user = choose_step_user(given_steps, {"securityContext": shared}, pod, "x")
    assert step_user.user == user


def test_root_that_one_step_was_allowed_is_allowed_to_the_agent() -> None:
    allowed = [*steps(1000), *steps(0, runAsNonRoot=False)]
    step_user = choose_step_user(allowed, template(runAsNonRoot=True), PodTemplate(), "x")
    assert security_context(step_user, template(runAsNonRoot=True), "x")["runAsNonRoot"] is False
    step_user = choose_step_user(allowed, {}, PodTemplate(is_non_root=True), "x")
    assert step_user.fields == {"runAsUser": 0, "runAsNonRoot": False}
    # A root that the kubelet does not start is none.
    assert choose_step_user(steps(1000, 0), template(runAsNonRoot=True), PodTemplate(), "x").user == 1000
    assert choose_step_user(steps(None, 0), template(runAsNonRoot=True), PodTemplate(), "x").user is None


def test_what_cannot_be_read_is_told_with_the_users_and_the_way_out() -> None:
    step_user = choose_step_user(steps(None, 2000), template(runAsUser=1000), PodTemplate(), "x")
    assert step_user.warning == (
        "its steps run as different users (1000, 2000), and the agent's steps run as 1000: they cannot push a file "
        "that another user keeps to itself (mode 0600); give all steps of the task one runAsUser"
    )
    weak = choose_step_user(
        steps(None, 0), template(runAsUser=1000, capabilities={"drop": ["ALL"]}), PodTemplate(), "x"
    )
    assert "run as root without the capability DAC_OVERRIDE" in str(weak.warning)
    strong = template(runAsUser=1000, capabilities={"drop": ["ALL"], "add": ["DAC_OVERRIDE"]})
    assert choose_step_user(steps(None, 0), strong, PodTemplate(), "x").warning is None


@pytest.mark.parametrize("user", ["root", [1], {}, 1.5, True])
def test_a_user_that_is_no_number_is_refused_by_name(user: Any) -> None:
    with pytest.raises(UnwrappableError, match="runAsUser is not a number"):
        choose_step_user(steps(user, 0), {}, PodTemplate(), "x")
    with pytest.raises(UnwrappableError, match="runAsUser is not a number"):
        parse_pod_template(template(runAsUser=user), "x")
