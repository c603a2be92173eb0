import pytest

from agent.core.spelling.path import ancestors, check_path, parent, show
from agent.errors import UnsafeArchiveError


@pytest.mark.parametrize(
    "path", [b"a", b"a/b", b"...", b".a", b"a ", b"\xff\n", b"x" * 255, b"/".join([b"y" * 255] * 40)]
)
def test_paths_below_the_root_are_accepted(path):
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/a", b"a/", b"a//b", b".", b"./a", b"a/.", b"..", b"a/../b", b"a/..", b"a\0b", b"x" * 256],
    ids=repr,
)
def test_paths_that_leave_the_root_or_are_spelled_otherwise_are_refused(path):
    with pytest.raises(UnsafeArchiveError):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "above", "every"),
    [(b"a", b"", []), (b"a/b", b"a", [b"a"]), (b"a/b/c", b"a/b", [b"a", b"a/b"])],
)
def test_what_is_above_a_path_comes_outermost_first(path, above, every):
    assert parent(path) == above
    assert ancestors(path) == every


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"a b", "a b"),
        ("ä".encode(), "ä"),
        (b"a\nb", "a\\nb"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"\xff", "\\xff"),
        ("\u202e".encode(), "\\u202e"),
    ],
)
def test_a_path_is_shown_in_one_line_without_control_of_the_terminal(path, text):
    assert show(path) == text
