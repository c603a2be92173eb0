"""Laws of derived tags, of globs, and of unions of images."""

import fnmatch

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.directory.sparse_globs import selection
from agent.core.image.change_set import unite
from agent.core.model.record import NUMBER_MAX
from agent.core.spelling.path import ancestors
from agent.core.spelling.reference import is_tag
from agent.core.spelling.tags import (
    check_target_tag,
    checkpoint_ids,
    checkpoint_tag,
    derived_prefix,
    entry_ids,
    entry_tag,
    mark_tag,
    pointer_tag,
    pointers,
    slug,
)
from agent.errors import InvalidReferenceError
from tests.core.made import base_layer, digest, fixup_layer, image_of, layer_of
from tests.property.edits import laws
from tests.property.images import hexes, text

target_tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
lanes = text | st.text("abA-_./@+", max_size=60) | st.just("x" * 300)
numbers = st.integers(0, NUMBER_MAX - 1)
attempts = st.none() | numbers


# Derived tags.


@laws
@given(target_tags, lanes, attempts, numbers, hexes)
def test_derived_tags_are_legal_short_and_no_targets(tag, lane, attempt, number, change):
    named = (pointer_tag(tag, lane, attempt, number), mark_tag(tag))
    for derived in (entry_tag(tag, lane, change), checkpoint_tag(tag, change), *named):
        assert len(derived) <= 110
        assert is_tag(derived)
        assert derived.startswith(derived_prefix(tag))
        try:
            check_target_tag(derived)
        except InvalidReferenceError:
            continue
        raise AssertionError(f"{derived} is accepted as a target")


@laws
@given(st.lists(st.tuples(target_tags, lanes), min_size=2, max_size=2, unique=True), attempts, hexes)
def test_derived_tags_of_different_lanes_or_targets_differ(owners, attempt, change):
    (tag, lane), (other_tag, other_lane) = owners
    assert pointer_tag(tag, lane, attempt, 0) != pointer_tag(other_tag, other_lane, attempt, 0)
    if tag != other_tag:
        assert entry_tag(tag, lane, change) != entry_tag(other_tag, other_lane, change)
        assert checkpoint_tag(tag, change) != checkpoint_tag(other_tag, change)
        assert mark_tag(tag) != mark_tag(other_tag)


@laws
@given(target_tags, lanes, st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2, unique=True))
def test_pointers_of_different_attempts_or_numbers_differ(tag, lane, chosen):
    assert pointer_tag(tag, lane, *chosen[0]) != pointer_tag(tag, lane, *chosen[1])


@laws
@given(target_tags, lanes, numbers)
def test_a_lane_without_attempts_has_the_pointers_of_a_first_one(tag, lane, number):
    assert pointer_tag(tag, lane, None, number) == pointer_tag(tag, lane, 0, number)


@laws
@given(
    st.lists(target_tags, min_size=2, max_size=2, unique=True),
    lanes,
    st.lists(hexes, max_size=4, unique_by=lambda change: change[:26]),
)
def test_entries_of_a_target_are_found_and_no_others(tags, lane, changes):
    ours, theirs = tags
    listed = [
        derived
        for tag in tags
        for change in changes
        for derived in (entry_tag(tag, lane, change), checkpoint_tag(tag, change), pointer_tag(tag, lane, 0, 0))
    ]
    listed += [ours, theirs, mark_tag(ours), mark_tag(theirs)]
    assert entry_ids(ours, listed) == {change[:26]: entry_tag(ours, lane, change) for change in changes}
    assert checkpoint_ids(ours, listed) == {change[:26]: checkpoint_tag(ours, change) for change in changes}
    assert set(pointers(ours, listed)) == {pointer_tag(ours, lane, 0, 0) for _ in changes[:1]}


@laws
@given(st.text())
def test_a_slug_is_safe_in_a_tag(words):
    short = slug(words)
    assert len(short) <= 30
    assert not short or is_tag(short)
    assert slug(short) == short


# Globs.

_globs = st.text("ab/*?[]!^-\\.&|~", max_size=10).map(str.encode) | st.binary(max_size=6)
_paths = st.lists(st.text("ab-]^.", min_size=1, max_size=3), min_size=1, max_size=4).map(lambda p: "/".join(p).encode())


@laws
@given(st.lists(_globs, max_size=3), _paths)
def test_every_glob_is_understood_and_takes_what_lies_below_what_it_takes(globs, path):
    selected = selection(globs)
    assert selected(path) in (True, False)
    if any(selected(above) for above in ancestors(path)):
        assert selected(path)


@laws
@given(st.lists(_globs, min_size=1, max_size=3), _paths)
def test_several_globs_are_their_union(globs, path):
    assert selection(globs)(path) == any(selection([glob])(path) for glob in globs)


@laws
@given(st.text("ab*?]-.!^", max_size=6) | st.from_regex(r"a?\[!?[]]?[a-c.-]{1,3}\]\*?", fullmatch=True), _paths)
def test_within_one_name_globs_are_those_of_the_shell(glob, path):
    assume("**" not in glob and "/" not in glob and b"/" not in path)
    assume(glob not in ("", "."))  # the root: everything
    assert selection([glob.encode()])(path) == fnmatch.fnmatchcase(path.decode(), glob)


# Unions.


@st.composite
def image_sets(draw):
    """Images of one history in several encodings, with bases, fix-ups, and records whose layer is gone."""
    layers, images = [], []
    base = draw(st.booleans())
    for number in range(1, draw(st.integers(1, 5)) + 1):
        known = [layer.record.id for layer in layers]
        parents = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
        layers.append(layer_of(number, parents or ([digest(9)] if base else []), toc=b"x"))
    for _ in range(draw(st.integers(1, 4))):
        chosen = [draw(encodings(layer)) for layer in layers if draw(st.booleans())]
        dropped = tuple(layer.record for layer in layers if draw(st.booleans()))
        under = [base_layer(draw(st.integers(1, 2)), digest(9))] if base else []
        over = [fixup_layer(1)] if draw(st.booleans()) else []
        platform = draw(st.sampled_from((("linux", "amd64", ""), ("linux", "arm64", ""), ("linux", "s390x", ""))))
        images.append(image_of(*under, *chosen, *over, dropped=dropped, platform=platform))
    return images


@st.composite
def encodings(draw, layer):
    number = layer.record.stamp
    return layer_of(
        number,
        layer.record.parents,
        toc=draw(st.none() | st.just(b"x")),
        encoded=draw(st.booleans()),
        blob=digest(7000 + draw(st.integers(0, 2))),
    )


@laws
@given(image_sets(), st.randoms(use_true_random=False))
def test_uniting_does_not_know_order_nor_repetition_nor_grouping(images, random):
    united = unite(images)
    shuffled = [*images, random.choice(images)]
    random.shuffle(shuffled)
    assert unite(shuffled) == united
    cut = random.randint(0, len(images))
    first, second = unite(images[:cut]), unite(images[cut:])
    assert unite([first.image("main"), second.image("main")]) == united
    assert unite([united.image("main")]) == united
    assert unite(shuffled).image("main") == united.image("main")


@laws
@given(image_sets())
def test_a_union_holds_every_record_once_and_its_frontier_covers_it(images):
    united = unite(images)
    assert united.records.keys() == {id_ for image in images for id_ in image.records}
    assert not united.changes.keys() & united.dropped.keys()
    assert set(united.frontier) <= united.ids
    parents = {parent for record in united.records.values() for parent in record.parents}
    assert set(united.frontier) == united.ids - parents
    assert united.past(united.frontier).ids == united.ids
    assert united.newest_stamp == max((record.stamp for record in united.records.values()), default=0)


@laws
@given(image_sets(), st.data())
def test_a_past_is_closed_under_parents(images, data):
    united = unite(images)
    chosen = data.draw(st.lists(st.sampled_from(sorted(united.ids)), max_size=2)) if united.ids else []
    past = united.past(chosen)
    assert set(chosen) <= past.ids
    assert {p for record in past.records.values() for p in record.parents} & united.ids <= past.ids
    assert set(past.frontier) <= set(chosen)
    assert past.past(chosen) == past
