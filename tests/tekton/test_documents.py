"""YAML: read as Kubernetes reads it, written so that every reader understands it alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.tekton.model.documents import read, read_objects, write
from tests.property.edits import laws

scalars = st.text() | st.integers(-(2**53), 2**53) | st.booleans() | st.none() | st.floats(-1e6, 1e6)
tricky = st.sampled_from(
    [
        "1e3",
        "0x1f",
        "0o17",
        "12:30",
        "2026-01-01",
        "yes",
        "y",
        "N",
        "~",
        "null",
        "<<",
        "=",
        ".5",
        "1_000",
        "- a",
        "a: b",
        "#",
        "",
        " x",
        "x ",
        "x\n",
        "\n",
        "a\n\nb\n",
        "\ta\n",
        "*a",
        "&a",
        "!x",
        "%",
        "@",
        "`",
    ]
)
values = st.recursive(scalars | tricky, lambda inner: st.lists(inner) | st.dictionaries(tricky, inner), max_leaves=6)


@laws
@given(st.lists(st.dictionaries(st.text() | tricky, values, max_size=4), max_size=2))
def test_what_is_written_is_read_back(documents: list[dict[str, Any]]) -> None:
    assert read(write(documents), "x") == documents


@laws
@given(st.dictionaries(st.sampled_from("abc"), tricky | st.text()))
def test_text_is_text_for_other_readers_too(document: dict[str, str]) -> None:
    assert yaml.safe_load(write([document])) == document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        ("12:30", "12:30"),
        ("1:30.5", "1:30.5"),
        ("0644", 0o644),
        ("0x10", 16),
        ("1.10", 1.1),
        ("'1.10'", "1.10"),
        ("true", True),
        ("=", "="),
        ("~", None),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: Any) -> None:
    assert read(f"a: {text}", "x") == [{"a": value}]


def test_texts_of_several_lines_stay_readable() -> None:
    assert "script: |\n    #!/bin/sh\n    echo\n" in write([{"step": {"script": "#!/bin/sh\necho\n"}}])


def test_empty_documents_are_left_out_and_aliases_are_written_out() -> None:
    assert read("---\n---\na: &x {b: 1}\nc: *x\n---\n# only words\n", "x") == [{"a": {"b": 1}, "c": {"b": 1}}]
    shared = {"b": 1}
    assert "&" not in write([{"a": shared, "c": shared}])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "no YAML: "),
        ("a: b: c", "x, line 1: no YAML"),
        ("- a", "one of its documents is no mapping"),
        ("just words", "no mapping"),
        ("a: 1\na: 2\n", "a is a duplicate key"),
        ("1: a", "the key 1 is no string"),
        ("a: {? [b] : c}", "no YAML"),
        ("a: !!python/object/apply:os.system [id]", "no YAML"),
        ("a: !!binary aGVsbG8=", "JSON has not"),
        ("a: \x00", "no YAML"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply|no YAML"),
        (BOMB, "too large"),
        ("a: &a x\nb: [" + "*a, " * 2000 + "]", "more than 1000 aliases"),
        ("a: &a\n  b: *a\n", "nested too deeply|no YAML"),
    ],
)
def test_what_is_no_good_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read(text, "x")
    assert "\n" not in str(caught.value)


# JSON


OBJECTS = [{"kind": "Task", "spec": {"n": 1}}, {"kind": "Pipeline", "spec": {"a": [True, None, "x"]}}]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(value) for value in OBJECTS),
        "".join(json.dumps(value) for value in OBJECTS),
        "\n\n  ".join(json.dumps(value, indent="\t") for value in OBJECTS) + "\n",
        "\n---\n".join(json.dumps(value, indent=2) for value in OBJECTS),
        "---\n" + "\n---\n".join(json.dumps(value) for value in OBJECTS) + "\n---\n",
        " " + json.dumps(OBJECTS[0]) + "\r\n" + json.dumps(OBJECTS[1]),
    ],
)
def test_json_is_read_one_object_after_the_other(text: str) -> None:
    assert read(text, "x") == OBJECTS


def test_numbers_of_json_are_numbers() -> None:
    assert read('{"a": 1e3, "b": -0.5, "c": "1e3"}', "x") == [{"a": 1000.0, "b": -0.5, "c": "1e3"}]


def test_flow_style_is_no_json_and_is_read() -> None:
    assert read("{a: 1, b: [x, 'y']}\n---\n{c: d}", "x") == [{"a": 1, "b": ["x", "y"]}, {"c": "d"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "a is a duplicate key"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1} {', "no YAML"),
        ('{"a": 1}\n[1]', "no mapping"),
        ('{"a":' * 5000, "nested too deeply|no YAML"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested too deeply"),
    ],
)
def test_json_that_is_no_good_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(text, "x")


# Lists

TASK = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "a"}}
RUN = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "b"}}


def listed(*items: Any, kind: str = "List", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "items": list(items), **more}


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([listed(TASK, RUN)], [TASK, RUN]),
        ([listed(TASK), RUN, listed(RUN, TASK)], [TASK, RUN, RUN, TASK]),
        ([listed(listed(TASK), RUN, listed(listed(listed(RUN))))], [TASK, RUN, RUN]),
        ([listed()], []),
        ([listed(listed(), TASK)], [TASK]),
        ([{"kind": "List", "items": None}], []),
        ([{"kind": "List"}], []),
        ([listed(TASK, metadata={"resourceVersion": ""})], [TASK]),
        ([listed({"metadata": {"name": "a"}}, kind="TaskList") | {"apiVersion": "tekton.dev/v1"}], [TASK]),
        ([listed(TASK, kind="TaskList")], [TASK]),
        ([listed(kind="TaskList")], []),
        ([{"kind": "AllowList", "spec": {"items": [1]}}], [{"kind": "AllowList", "spec": {"items": [1]}}]),
        ([{"items": [TASK]}], [{"items": [TASK]}]),
    ],
)
def test_lists_are_opened(documents: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    assert read_objects(write(documents), "x") == found
    assert read_objects("\n".join(map(json.dumps, documents)), "x") == found
    assert read(write(documents), "x") == documents


@pytest.mark.parametrize("items", [[1], ["x"], [None], [[TASK]], {"a": TASK}, "x", 5])
def test_a_list_of_something_else_is_refused(items: Any) -> None:
    with pytest.raises(UsageError, match="something else than objects"):
        read_objects(write([{"kind": "List", "items": items}]), "x")
