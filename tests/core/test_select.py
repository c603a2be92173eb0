import pytest

from agent.core.directory.sparse_globs import everything, idle, is_whole, selection


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        (b"a", [b"a", b"a/b", b"a/b/c"], [b"b", b"aa", b"b/a"]),
        (b"/a/", [b"a", b"a/b"], [b"b/a"]),
        (b"*", [b"a", b"a/b", b".x"], []),
        (b"*.c", [b"x.c", b".c", b"x.c/y"], [b"d/x.c", b"x.cc"]),
        (b"d/*", [b"d/a", b"d/a/b"], [b"d", b"e/a"]),
        (b"d/?", [b"d/a", b"d/a/b"], [b"d/ab", b"d/"]),
        (b"**/x", [b"x", b"a/x", b"a/b/x", b"a/x/y"], [b"ax", b"a/bx"]),
        (b"a/**", [b"a/b", b"a/b/c"], [b"a", b"ab"]),
        (b"a/**/x", [b"a/x", b"a/b/x"], [b"ax", b"a/bx"]),
        (b"a**z", [b"az", b"a/b/z"], [b"a", b"z"]),
        (b"[ab]", [b"a", b"b/c"], [b"c", b"ab"]),
        (b"[a-c]x", [b"bx"], [b"dx", b"-x"]),
        (b"[!a-c]x", [b"dx", b"-x"], [b"bx", b"/x"]),
        (b"[^a]", [b"b"], [b"a"]),
        (b"[]a]", [b"]", b"a"], [b"b"]),
        (b"[!]a]", [b"b"], [b"]", b"a"]),
        (b"[a-]", [b"a", b"-"], [b"b"]),
        (b"[z-a]", [], [b"a", b"z", b"-"]),
        (b"[!z-a]", [b"a"], []),
        (b"a[!b]c", [b"axc"], [b"a/c", b"abc"]),
        (b"a[./]c", [b"a.c"], [b"a/c"]),
        (b"[[a]", [b"[", b"a"], [b"b"]),
        (b"[a&&b]", [b"&", b"a"], [b"c"]),
        (b"[\\d]", [b"\\", b"d"], [b"1"]),
        (b"[a", [b"[a"], [b"a"]),
        (b"[]", [b"[]"], [b"a"]),
        (b"[!]", [b"[!]"], [b"a"]),
        (b"a.b+(c)$", [b"a.b+(c)$"], [b"axb+(c)$"]),
        (b"a\nb", [b"a\nb"], [b"a"]),
        (b"?", [b"\n", b"\xff"], [b"ab"]),
        (b"\xff*", [b"\xff\xfe"], [b"\xfe"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_globs_take_what_they_match_and_all_below(glob, taken, left):
    selected = selection([glob])
    assert [path for path in taken if not selected(path)] == []
    assert [path for path in left if selected(path)] == []


def test_several_globs_take_what_any_of_them_takes():
    selected = selection([b"a", b"b/c"])
    assert [path for path in (b"a", b"b", b"b/c", b"c") if selected(path)] == [b"a", b"b/c"]


def test_no_glob_takes_everything():
    assert selection([]) is everything
    assert everything(b"any")


@pytest.mark.parametrize("glob", [b".", b"/", b"./", b"*", b"**", b"/**/"])
def test_the_root_selects_everything(glob: bytes) -> None:
    assert selection([b"other", glob]) is everything


def test_a_path_may_be_written_as_in_a_shell() -> None:
    assert selection([b"./src/"])(b"src/main.c")
    assert not selection([b"./src/"])(b"doc")


def test_what_selects_everything_is_told_without_a_path() -> None:
    assert is_whole(())
    assert is_whole((b"src", b"**"))
    assert not is_whole((b"src/**",))


def test_globs_that_match_nothing_are_told() -> None:
    selected = selection([b"src", b"nope*", b"/doc/", b"src/a.c"])
    assert idle(selected) == [b"src", b"nope*", b"/doc/", b"src/a.c"]
    for path in (b"README", b"src/b.c", b"doc"):
        selected(path)
    assert idle(selected) == [b"nope*", b"src/a.c"]
    selected(b"src/a.c")
    assert idle(selected) == [b"nope*"]
    assert idle(everything) == []
