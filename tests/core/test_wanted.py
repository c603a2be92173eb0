"""What a pull keeps of the files that it needs."""

from agent.core.directory.fetch_list import FetchList
from agent.core.model.entry import Kind, Node, TreeEntry

NODE = Node(Kind.FILE, 0o644, mtime=5, size=3, sha256=b"x" * 32)


def entry(offset: int, node: Node = NODE, group: int | None = None) -> TreeEntry:
    return TreeEntry(b"path %d" % offset, node, None, "l", offset, group)


def places(wanted: FetchList) -> list[list[int]]:
    return [[wanted.offset(number) for number in numbers] for numbers in wanted.rounds()]


def test_files_come_in_the_order_of_their_places_and_each_place_once_in_a_round() -> None:
    wanted = FetchList()
    for row, offset in enumerate((1024, 0, 512, 0, 0, 512, -1, -1)):
        wanted.add(entry(offset), row)
    assert places(wanted) == [[-1, 0, 512, 1024], [-1, 0, 512], [0]]
    rows = [wanted.row(number) for numbers in wanted.rounds() for number in numbers]
    assert sorted(rows) == list(range(8))
    assert (len(wanted), wanted.bytes) == (8, 24)


def test_what_a_table_tells_again_is_not_kept_but_for_the_time() -> None:
    wanted = FetchList()
    wanted.add(entry(0, NODE._replace(mtime=9)), 0, toc_has_path=True)
    wanted.add(entry(512), 1, toc_has_path=True)
    assert [wanted.entry(0), wanted.entry(1)] == [None, None]
    assert wanted.node(0, NODE) == NODE._replace(mtime=9)
    assert wanted.node(1, NODE) is NODE


def test_what_a_table_cannot_tell_is_kept() -> None:
    wanted = FetchList()
    entries = [entry(0), entry(512, group=0), entry(1024, NODE._replace(mtime=1 << 80))]
    for row, (each, told) in enumerate(zip(entries, (False, True, True), strict=True)):
        wanted.add(each, row, toc_has_path=told)
    assert [wanted.entry(number) for number in range(3)] == entries
