from dataclasses import replace

import pytest

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import DEFAULT_PLATFORM
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.squash_record import SquashRecord
from tests.core.made import base_layer, digest, fixup_layer, image_of, layer_of, record_of

BASE = digest(9)
ARM = ("linux", "arm64", "")


def chain(count, *, base=None):
    """Layers of changes that each were made on top of the one before."""
    layers, before = [], (base,) if base else ()
    for number in range(1, count + 1):
        layers.append(layer_of(number, before, base=base))
        before = (layers[-1].record.id,)
    return layers


def ids(*layers):
    return {layer.record.id for layer in layers}


def test_nothing_is_an_empty_union():
    assert unite([]) == unite([image_of()]) == ChangeSet()
    assert (ChangeSet().frontier, ChangeSet().newest_stamp, ChangeSet().order) == ((), 0, [])
    assert ChangeSet().is_chain


def test_a_union_holds_what_its_images_hold_and_no_fixup():
    one, two = chain(2, base=BASE)
    base = base_layer(1, BASE)
    united = unite([image_of(base, one, fixup_layer(1)), image_of(base, one, two)])
    assert united.bases == {BASE: (base,)}
    assert united.changes == {one.record.id: one, two.record.id: two}
    assert united.ids == {BASE, *ids(one, two)}
    assert united.image("main").layers == (base, one, two)
    assert united.image("main", fixup_layer(2)).layers == (base, one, two, fixup_layer(2))


def test_a_base_of_several_layers_keeps_their_order():
    layers = (base_layer(2, BASE), base_layer(1, BASE))
    assert unite([image_of(*layers), image_of(*layers)]).image("main").layers == layers


def test_a_record_with_a_layer_anywhere_is_not_dropped():
    (one,) = chain(1)
    dropped = record_of(5)
    united = unite([image_of(dropped=(one.record, dropped)), image_of(one)])
    assert united.dropped == {dropped.id: dropped}
    assert united.records == {one.record.id: one.record, dropped.id: dropped}
    assert unite([united.image("main")]) == united


def test_the_encoding_that_can_be_read_by_itself_is_kept():
    best = layer_of(1, toc=b"x")
    plain, foreign = best._replace(toc=None), best._replace(toc=None, encoding=None, digest=digest(8888))
    for order in ([best, plain, foreign], [foreign, plain, best], [plain, best, foreign]):
        assert unite(map(image_of, order)).changes == {best.record.id: best}


def test_the_platform_is_that_of_the_image_with_a_base():
    with_base = image_of(base_layer(1, BASE), platform=ARM)
    assert unite([with_base, image_of(layer_of(1))]).platform == ARM
    assert unite([image_of(layer_of(1)), with_base]).platform == ARM
    assert unite([image_of(layer_of(1))]).platform == DEFAULT_PLATFORM
    assert unite([with_base]).image("main").platform == ARM


def test_the_frontier_is_what_lies_in_no_past():
    one, two, three = chain(3)
    side = layer_of(7, (one.record.id,), lane="b")
    assert unite([image_of(one, two, three)]).frontier == (three.record.id,)
    assert set(unite([image_of(one, two, three, side)]).frontier) == ids(three, side)
    assert unite([image_of(base_layer(1, BASE))]).frontier == (BASE,)
    (on_base,) = chain(1, base=BASE)
    assert unite([image_of(base_layer(1, BASE), on_base)]).frontier == (on_base.record.id,)


def test_a_superseded_record_without_a_layer_links_pasts():
    one, two, three = chain(3)
    united = unite([image_of(one, three, dropped=(two.record,))])
    assert united.frontier == (three.record.id,)
    assert united.past([three.record.id]).ids == ids(one, two, three)
    assert not united.is_chain


def test_the_past_of_a_change_is_a_union_of_its_own():
    one, two, three = chain(3, base=BASE)
    side = layer_of(7, (one.record.id,), lane="b", base=BASE)
    united = unite([image_of(base_layer(1, BASE), one, two, three, side)])
    past = united.past([side.record.id])
    assert past.ids == {BASE, *ids(one, side)}
    assert past.frontier == (side.record.id,)
    assert past.newest_stamp == 7
    assert united.newest_stamp == 7
    assert united.past([]).ids == set()


def squash_of(*layers, number=50):
    covers = tuple(sorted((layer.record for layer in layers), key=lambda record: record.id))
    record = SquashRecord("main", covers, (), digest(1000 + number), f"{number:064x}", plain=True)
    return layers[-1]._replace(kind="squash", record=None, squash=record, encoding=layers[-1].encoding)


def test_what_was_made_since_is_told_apart_where_all_of_it_was_made_on_top():
    one, two, three, four = chain(4, base=BASE)
    stack = base_layer(1, BASE)
    older = unite([image_of(stack, one, two)])
    newer = unite([image_of(stack, one, two, three, four)])
    rest = newer.beyond(older)
    assert (rest.ids, rest.bases) == (ids(three, four), {})
    assert newer.beyond(newer).ids == set()
    assert unite([image_of(one, two)]).beyond(ChangeSet()).ids == ids(one, two)
    assert older.beyond(newer) is None
    side = layer_of(8, (two.record.id,), lane="b", base=BASE)
    assert unite([image_of(stack, one, two, three, side)]).beyond(older).ids == ids(three, side)


def test_what_was_made_beside_it_or_out_of_several_cannot_be_told_apart():
    one, two, three = chain(3, base=BASE)
    stack = base_layer(1, BASE)
    older = unite([image_of(stack, one, two)])
    side = layer_of(8, (one.record.id,), lane="b", base=BASE)
    join = layer_of(9, (side.record.id, two.record.id), lane="b", base=BASE)
    assert unite([image_of(stack, one, two, three, side)]).beyond(older) is None
    assert unite([image_of(stack, one, two, side, join)]).beyond(older) is None
    several = unite([image_of(stack, one, two, side)])
    assert unite([image_of(stack, one, two, side, join)]).beyond(several) is None
    other = image_of(base_layer(2, digest(8)), layer_of(7, (digest(8),), lane="c", base=digest(8)))
    assert unite([image_of(stack, one, two, three), other]).beyond(older) is None
    assert unite([image_of(stack, one, two, three), image_of(base_layer(2, digest(8)))]).beyond(older) is None


def test_a_squash_of_older_and_newer_changes_cannot_be_told_apart():
    one, two, three, four = chain(4)
    older = unite([image_of(one, two)])
    assert unite([image_of(squash_of(one, two), three)]).beyond(older).ids == ids(three)
    assert unite([image_of(one, two, squash_of(three, four))]).beyond(older).ids == ids(three, four)
    assert unite([image_of(one, squash_of(two, three), four)]).beyond(older) is None


def test_an_attempt_starts_without_earlier_attempts_and_what_was_built_on_them():
    root = layer_of(1, lane="root")
    first = layer_of(2, (root.record.id,), lane="task", attempt=0)
    on_first = layer_of(3, (first.record.id,), lane="next", attempt=0)
    other = layer_of(4, (root.record.id,), lane="other", attempt=0)
    united = unite([image_of(root, first, on_first, other)])
    assert united.before(Writer("task", 0)).ids == united.ids
    assert united.before(Writer("task", 1)).ids == ids(root, other)
    assert united.before(Writer("next", 1)).ids == ids(root, first, other)
    assert united.before(Writer("unheard", 5)).ids == united.ids


def test_changes_are_in_the_order_of_stamp_and_id():
    layers = [layer_of(number, lane=lane, stamp=5 + number % 2) for number, lane in enumerate("abcd", start=1)]
    order = unite([image_of(*layers)]).order
    assert [layer.record.version for layer in order] == sorted(layer.record.version for layer in layers)


@pytest.mark.parametrize("base", [None, BASE])
def test_changes_made_one_on_another_are_a_chain(base):
    layers = chain(3, base=base)
    stack = [base_layer(1, base)] if base else []
    assert unite([image_of(*stack, *layers)]).is_chain
    assert unite([image_of(*stack)]).is_chain
    side = layer_of(9, (layers[0].record.id,), base=base)
    assert not unite([image_of(*stack, *layers, side)]).is_chain
    join = layer_of(10, (layers[2].record.id, side.record.id), base=base)
    assert not unite([image_of(*stack, *layers, side, join)]).is_chain


def test_a_change_with_an_unpulled_write_ends_agreement_but_not_the_line():
    one, two, three = chain(3)
    marked = two._replace(record=replace(two.record, unpulled=True))
    after = layer_of(4, (marked.record.id,))
    assert unite([image_of(one, two, three)]).is_chain
    for several in ((one, marked), (one, marked, after)):
        union = unite([image_of(*several)])
        assert union.is_line
        assert not union.is_chain


def test_what_lacks_its_beginning_is_no_chain():
    _, two, three = chain(3, base=BASE)
    assert not unite([image_of(base_layer(1, BASE), two, three)]).is_chain
    assert not unite([image_of(two, three)]).is_chain


def test_a_set_with_a_superseded_record_is_no_chain():
    assert not unite([image_of(*chain(2), dropped=(record_of(9, lane="b"),))]).is_chain
    later = layer_of(1, lane="task", attempt=2)
    earlier = layer_of(2, (later.record.id,), lane="task", attempt=0)
    assert not unite([image_of(later, earlier)]).is_chain
    assert unite([image_of(later, layer_of(2, (later.record.id,), lane="task", attempt=3))]).is_chain


def test_two_bases_are_no_chain():
    other = digest(8)
    assert not unite([image_of(base_layer(1, BASE)), image_of(base_layer(2, other))]).is_chain
