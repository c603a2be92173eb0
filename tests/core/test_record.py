import json
from dataclasses import replace
from hashlib import sha256

import pytest

from agent.core.model.entry import Version
from agent.core.model.pod import Pod
from agent.core.model.record import parse_record
from agent.errors import IntegrityError
from tests.core.made import digest, record_of


def test_the_id_is_the_hash_of_canonical_json_without_what_is_absent():
    record = record_of(1, stamp=7)
    text = (
        f'{{"diff_id":"{digest(1001)}","format":1,"lane":"a","parents":[],"stamp":7,"target":"main","toc":"{1:064x}"}}'
    )
    assert record.text == text
    assert record.id == sha256(text.encode()).hexdigest()
    assert record.version == Version(7, record.id)


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "other"},
        {"parents": (digest(1),)},
        {"lane": "b"},
        {"attempt": 0},
        {"stamp": 8},
        {"base": digest(1)},
        {"message": "m"},
        {"annotations": (("k", "v"),)},
        {"diff_id": digest(5)},
        {"toc": "0" * 64},
        {"number": 0},
        {"attempt": 0, "pod": Pod(6, "uid")},
        {"unpulled": True},
    ],
    ids=str,
)
def test_every_attribute_is_part_of_the_id(changed):
    record = record_of(1, stamp=7)
    assert replace(record, **changed).id != record.id
    assert parse_record(replace(record, **changed).text) == replace(record, **changed)


def test_the_order_of_parents_is_no_part_of_the_id():
    first, second = "1" * 64, "2" * 64
    record = record_of(3, (first, second))
    assert replace(record, parents=(second, first)).id == record.id


def test_another_time_is_another_id_of_the_same_change():
    record = record_of(1)
    assert record.at(9).stamp == 9
    assert record.at(9).at(1) == record
    assert record.at(9).id != record.id


def test_a_base_that_was_named_by_a_sha512_digest_reads_back():
    base = "sha512:" + "a" * 128
    record = record_of(1, (base,), base=base)
    assert parse_record(record.text) == record


def _with(**changed):
    value = json.loads(record_of(1, ("1" * 64, "2" * 64)).text) | changed
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        _with(format=2),
        _with(format="1"),
        _with(more=1),
        _with(stamp=0),
        _with(stamp=-1),
        _with(stamp=1 << 63),
        _with(attempt=-1),
        _with(attempt=10**9),
        _with(number=-1),
        _with(number=10**9),
        _with(number=None),
        _with(number="1"),
        _with(unpulled=False),
        _with(unpulled=1),
        _with(attempt=0, pod=None),
        _with(attempt=0, pod={}),
        _with(attempt=0, stamp=9, pod={"started": 8, "uid": ""}),
        _with(attempt=0, stamp=9, pod={"started": 9, "uid": "u"}),
        _with(attempt=0, stamp=9, pod={"started": 0, "uid": "u"}),
        _with(attempt=0, stamp=9, pod={"started": True, "uid": "u"}),
        _with(attempt=0, stamp=9, pod={"started": 8, "uid": 1}),
        _with(attempt=0, stamp=9, pod={"started": 8, "uid": "u", "more": 1}),
        _with(stamp=9, pod={"started": 8, "uid": "u"}),
        _with(stamp=1.0),
        _with(stamp=True),
        _with(stamp="1"),
        _with(attempt=None),
        _with(parents=["2" * 64, "1" * 64]),
        _with(parents="1" * 64),
        _with(parents=["1"]),
        _with(parents=["A" * 64]),
        _with(base="main"),
        _with(diff_id="sha256:../x"),
        _with(toc=""),
        _with(message=""),
        _with(annotations={}),
        _with(annotations={"k": 1}),
        _with(target=None),
        _with(lane="\ud800"),
        record_of(1).text + " ",
        record_of(1).text.replace('"lane":"a"', '"lane":"\\u0061"'),
        record_of(1).text.replace('"lane":"a"', '"lane":"b","lane":"a"'),
        "[" * 100_000,
    ],
    ids=lambda text: ascii(text)[:60],
)
def test_what_is_not_the_canonical_text_of_a_record_is_refused(text):
    with pytest.raises(IntegrityError) as caught:
        parse_record(text)
    assert len(str(caught.value)) < 400
