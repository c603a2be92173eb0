"""The record of a squash, and images and unions that hold one."""

from __future__ import annotations

import json

import pytest

from agent.core.image.change_set import unite
from agent.core.image.image import Image, Layer
from agent.core.image.manifest import load_json, parse_image
from agent.core.image.manifest_writer import format_image
from agent.core.image.squash_policy import newest_layers
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.record import Record
from agent.core.model.squash_record import SquashRecord, parse_squash
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import digest_of
from agent.errors import IntegrityError

TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"


def record(number: int, *parents: Record, attempt: int | None = None) -> Record:
    ids = tuple(sorted(parent.id for parent in parents))
    diff_id = digest_of(b"tar %d" % number)
    return Record("ws", ids, f"lane-{number}", attempt, 10 * number, None, diff_id, "ab" * 32, message='"covers":[')


def layer(described: Record | SquashRecord, size: int = 100) -> Layer:
    is_change = isinstance(described, Record)
    return Layer(
        TYPE,
        digest_of(described.text.encode()),
        size,
        described.diff_id,
        "change" if is_change else "squash",
        record=described if isinstance(described, Record) else None,
        squash=described if isinstance(described, SquashRecord) else None,
    )


def squash(*covers: Record, dropped: tuple[Record, ...] = (), plain: bool = True) -> SquashRecord:
    def order(one: Record) -> str:
        return one.id

    tar = canonical([one.id for one in covers])
    return SquashRecord("ws", tuple(sorted(covers, key=order)), dropped, digest_of(tar), "cd" * 32, plain)


A = record(1)
B = record(2, A)
C = record(3, B)
D = record(4, C)


def test_the_text_of_a_squash_reads_back() -> None:
    made = squash(A, B, dropped=(D,))
    assert parse_squash(made.text) == made
    assert json.loads(made.text)["plain"] is True
    assert "plain" not in json.loads(squash(A, plain=False).text)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("covers"),
        lambda value: value.update(covers=[]),
        lambda value: value["covers"].reverse(),
        lambda value: value["covers"].append(value["covers"][-1]),
        lambda value: value.update(dropped=value["covers"][:1]),
        lambda value: value.update(covers=[5]),
        lambda value: value.update(plain=False),
        lambda value: value.update(plain=1),
        lambda value: value.update(toc="x"),
        lambda value: value.update(toc=[]),
        lambda value: value.update(target=5),
        lambda value: value.update(diff_id="sha256:../x"),
        lambda value: value.update(format=2),
        lambda value: value.update(more=1),
        lambda value: value["covers"][0].update(stamp=-1),
    ],
)
def test_a_text_that_is_no_squash_is_an_integrity_error(change) -> None:  # type: ignore[no-untyped-def]
    value = json.loads(squash(A, B).text)
    change(value)
    with pytest.raises(IntegrityError):
        parse_squash(canonical(value).decode())


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "[" * 100_000, '{"covers":[]}', '{"covers":["\\ud800"]}'])
def test_any_other_text_is_an_integrity_error(text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_squash(text)


def test_an_image_with_a_squash_reads_back_from_its_descriptors_and_from_its_history() -> None:
    image = Image((layer(squash(A, B)), layer(C)), "ws")
    config, manifest = format_image(image)
    assert parse_image(load_json(manifest, ""), None, "") == image
    stripped = load_json(manifest, "")
    del stripped["annotations"]
    for descriptor in stripped["layers"]:
        del descriptor["annotations"]
    found = parse_image(stripped, load_json(config, ""), "")
    assert [(one.kind, one.squash, one.record) for one in found.layers] == [
        (one.kind, one.squash, one.record) for one in image.layers
    ]


def test_a_squash_of_another_tar_is_not_believed() -> None:
    image = Image((layer(squash(A, B))._replace(diff_id=digest_of(b"other")),), "ws")
    _, manifest = format_image(image)
    value = load_json(manifest, "")
    del value["annotations"]["dev.instep.view"]
    for descriptor in value["layers"]:
        descriptor["annotations"]["dev.instep.squash"] = squash(A, B).text
    found = parse_image({**value, "annotations": {}}, None, "")
    assert [one.kind for one in found.layers] == ["foreign"]


def test_a_covered_change_has_no_layer_of_its_own_in_a_union() -> None:
    made = squash(A, B)
    union = unite([Image((layer(A), layer(B), layer(C)), "ws"), Image((layer(made),), "ws")])
    assert union == unite([Image((layer(made),), "ws"), Image((layer(A), layer(B), layer(C)), "ws")])
    assert [one.kind for one in union.order] == ["squash", "change"]
    assert union.ids == {A.id, B.id, C.id}
    assert union.frontier == (C.id,)
    assert union.newest_stamp == C.stamp
    assert unite([union.image("ws")]) == union


def test_of_two_squashes_the_one_within_the_other_is_left_out_and_overlapping_ones_stay() -> None:
    small, large, other = squash(A, B), squash(A, B, C), squash(C, D)
    images = [Image((layer(one),), "ws") for one in (small, large, other)]
    assert set(unite(images).squashes) == {large.id, other.id}
    equal = [squash(A, B, plain=plain) for plain in (True, False)]
    assert set(unite(Image((layer(one),), "ws") for one in equal).squashes) == {min(one.id for one in equal)}


def test_a_chain_with_a_plain_squash_is_a_chain_and_one_that_is_not_plain_is_none() -> None:
    for plain in (True, False):
        union = unite([Image((layer(squash(A, B, plain=plain)), layer(C)), "ws")])
        assert union.is_chain is plain
    assert not unite([Image((layer(squash(A, C)), layer(B)), "ws")]).is_chain


def test_of_a_squash_that_is_cut_only_records_remain() -> None:
    union = unite([Image((layer(squash(A, B)), layer(C)), "ws")])
    cut = union.past([A.id])
    assert (cut.squashes, cut.changes, set(cut.dropped)) == ({}, {}, {A.id})
    assert union.past([B.id]).order == [union.order[0]]
    assert union.reaching([A.id]).ids == {A.id, B.id}


def test_what_a_squash_covers_is_not_taken_from_a_later_attempt() -> None:
    tried = record(5, D, attempt=0)
    union = unite([Image((layer(squash(A, B, C, D, tried)),), "ws")])
    assert union.before(Writer("lane-5", 1)).ids == union.ids


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([1] * 60, 0),
        ([1000, *[1] * 60], 1),
        ([100, *[1] * 60], 0),
        ([5000, 700, *[1] * 60], 2),
        ([1, 5000, 700, *[1] * 60], 0),
        ([4**power for power in range(20, 0, -1)], 10),
    ],
)
def test_many_small_layers_are_replaced_and_few_large_ones_stay(sizes: list[int], left: int) -> None:
    order = [layer(record(number), size) for number, size in enumerate(sizes, 1)]
    assert newest_layers(order) == order[left:]


def test_repeated_squashing_rewrites_each_byte_a_few_times_only() -> None:
    order: list[Layer] = []
    written = 0
    for number in range(1, 5000):
        if len(order) >= 64:
            chosen = newest_layers(order)
            size = sum(one.size for one in chosen)
            written += size
            order = [*order[: -len(chosen)], layer(record(number), size)]
        order.append(layer(record(number), 100 + number % 7 * 50))
        assert len(order) <= 64
    assert written <= 8 * sum(one.size for one in order)
