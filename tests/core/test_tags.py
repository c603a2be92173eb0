import pytest

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

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main", "main"),
        ("Main", "main"),
        ("v1.2", "v1-2"),
        ("user@host", "user-host"),
        ("-x", "_x"),
        ("--x", "_-x"),
        ("ü/x", "_-x"),
        ("a" * 31, "a" * 30),
        ("", ""),
    ],
)
def test_a_slug_is_what_people_still_recognise(text, expected):
    assert slug(text) == expected


def test_derived_tags_are_laid_down():
    # Whoever changes one of these loses every workspace there is.
    assert entry_tag("main", "user@host", ID) == "main.user-host._ebvxea6pdm40123456789abcdef0123456789"
    assert pointer_tag("main", "l", None, 7) == "main.l._pbvxea6pdm4vswinqhgbhfja33d-0-7"
    assert pointer_tag("main", "l", 2, 0) == "main.l._pbvxea6pdm4vswinqhgbhfja33d-2-0"
    assert mark_tag("main") == "main._mbvxea6pdm4"
    assert checkpoint_tag("main", ID) == "main._cbvxea6pdm40123456789abcdef0123456789"


def test_entries_and_checkpoints_are_found_among_other_tags():
    ours, theirs = entry_tag("main", "l", ID), entry_tag("Main", "l", ID)
    pointer, checkpoint = pointer_tag("main", "l", 0, 0), checkpoint_tag("main", ID)
    tags = ["main", ours, theirs, pointer, checkpoint, mark_tag("main"), ours + "\n", "main._e", ours.upper()]
    assert entry_ids("main", tags) == {ID[:26]: ours}
    assert checkpoint_ids("main", tags) == {ID[:26]: checkpoint}
    assert pointers("main", [*tags, pointer_tag("Main", "l", 0, 0), pointer + "-0"]) == [pointer]
    assert all(tag.startswith(derived_prefix("main")) for tag in (ours, pointer, checkpoint, mark_tag("main")))


@pytest.mark.parametrize(
    "tag",
    ["main", "main._e", "main._e" + "a" * 35, "v1.0", "_e", "main._p" + "a" * 26 + "-0", "main._m" + "a" * 9],
)
def test_a_target_of_any_other_name_is_accepted(tag):
    assert check_target_tag(tag) == tag


@pytest.mark.parametrize(
    "tag",
    [
        entry_tag("main", "l", ID),
        pointer_tag("main", "l", None, 0),
        pointer_tag("main", "l", 12, 3),
        mark_tag("main"),
        checkpoint_tag("main", ID),
        "anything" + checkpoint_tag("", ID),
    ],
)
def test_a_derived_tag_is_no_target(tag):
    with pytest.raises(InvalidReferenceError):
        check_target_tag(tag)
