from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnwrappableError
from agent.tekton.model.variables import RUN_UID, dump, mentioned, substitute
from tests.property.edits import laws

texts = st.text() | st.text('$()ab.{}"\\', max_size=30)


@laws
@given(st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_json_for_a_step_means_what_it_says_and_holds_no_variable_of_a_user(value: Any) -> None:
    text = dump(value)
    assert json.loads(text) == value
    assert not re.search(
        r"\$\((?!context\.pipelineRun\.|context\.taskRun\.name\)|credentials\.path\)|INSTEP_POD(?:_UID)?\))", text
    )
    assert "$$" not in text


def test_variables_of_ours_stay() -> None:
    told = {"pod": "$(INSTEP_POD)", "lane": f"{RUN_UID}/a"}
    assert dump(told, "INSTEP_POD") == '{"lane": "$(context.pipelineRun.uid)/a", "pod": "$(INSTEP_POD)"}'
    assert "$(INSTEP_POD)" not in dump(told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(params.a)", "1"),
        ("$(params[\"a\"]) $(params['a'])", "1 1"),
        ("x$( params.a )y", "x1y"),
        ("$(params.b)", "$(params.a)"),
        ("$", "$"),
        ("${x}", "${x}"),
    ],
)
def test_known_variables_are_replaced_once(text: str, expected: str) -> None:
    assert substitute(text, {"params.a": "1", "params.b": "$(params.a)"}, subject="s") == expected


@pytest.mark.parametrize(
    "text", ["$(params.c)", "$(", "$(params.a", "$()", "$(params.$(params.a))", "$(context.run.name)"]
)
def test_a_variable_that_is_left_is_refused(text: str) -> None:
    with pytest.raises(UnwrappableError, match=r"not known here.*use one of: "):
        substitute(text, {"params.a": "1"}, subject="s")


def test_names_are_found_in_any_notation() -> None:
    value = {"a": ["$(workspaces.one.path)", "$(workspaces['two'].bound)"], "b": 'x$(workspaces["th.ree"].volume)'}
    assert mentioned(value, "workspaces") == ["one", "two", "th.ree"]
    assert mentioned("$(workspacesx.a.path) $(params.workspaces.a)", "workspaces") == []
