"""Sequences in bytes order of paths, joined; and the paths that enclose the current one."""

from itertools import product

from agent.core.merge.path_order import PathStack, join

NAMES = (b"a", b"a-b", b"b")
PATHS = sorted(b"/".join(names) for depth in (1, 2, 3) for names in product(NAMES, repeat=depth))


def test_a_join_pairs_equal_paths():
    left, right = [(b"a", 1), (b"c", 2), (b"d", 3)], [(b"b", 4), (b"c", 5)]
    assert list(join(left, right)) == [
        ((b"a", 1), None),
        (None, (b"b", 4)),
        ((b"c", 2), (b"c", 5)),
        ((b"d", 3), None),
    ]
    assert list(join([], right)) == [(None, right[0]), (None, right[1])]


def test_a_stack_has_exactly_the_paths_above():
    stack = PathStack()
    for path in PATHS:
        assert stack.above(path) == [other for other in PATHS if path.startswith(other + b"/")]
        stack.push(path, path)
        assert all(path.startswith(prefix[:-1]) for _, prefix, _ in stack)


def test_leaving_ends_every_path_once_after_all_that_lies_below_it():
    stack, ended = PathStack(), []
    for path in [*PATHS, None]:
        while (left := stack.leave(path)) is not None:
            ended.append(left)
            assert path is None or not any(later.startswith(left + b"/") for later in PATHS if later >= path)
        if path is not None:
            stack.push(path, path)
    assert sorted(ended) == PATHS
    for number, path in enumerate(ended):
        assert not any(later.startswith(path + b"/") for later in ended[number:])
