import pytest

from agent.core.spelling.canonical import canonical, name_from_json, name_to_json


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        ({"ä": "ö\n"}, '{"ä":"ö\\n"}'.encode()),
        (10**30, b"1" + b"0" * 30),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'.encode()),
    ],
)
def test_keys_are_sorted_and_nothing_is_escaped_that_need_not_be(value, data):
    assert canonical(value) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_or_utf8_cannot_write_is_refused(value):
    with pytest.raises(ValueError):
        canonical(value)


def test_a_name_that_is_not_utf8_is_base64():
    assert name_to_json(b"\xff\x00") == {"b64": "/wA="}
    assert name_to_json("ä\n".encode()) == "ä\n"


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        ["a"],
        {},
        {"b64": 5},
        {"b64": "/w==", "x": 1},
        {"b64": "/w="},
        {"b64": "/w==\n"},
        {"b64": "ä"},
        {"b64": "YQ=="},
        {"b64": "/x=="},
        "\ud800",
    ],
    ids=repr,
)
def test_a_name_in_another_spelling_is_refused(value):
    with pytest.raises(ValueError):
        name_from_json(value)
