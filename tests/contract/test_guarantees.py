"""The guarantees of design, "Protocol" on every kind of store, with real processes where one can be shared by several.

One test each. What every schedule of calls may do to them is searched in `tests/model`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import ConflictError
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.squash_command import SquashOptions, squash_target
from tests.contract.company import Company, items
from tests.fakes.contents import noise, write
from tests.fakes.killing import killed_at
from tests.fakes.plain import applied, on_disk
from tests.fakes.soaking import FULL
from tests.fakes.trees import snapshot, unlike
from tests.fakes.watched import watched
from tests.fakes.workspaces import Workspaces
from tests.property import overlay

pytestmark = pytest.mark.sweep(2)
CREW = ["b", "c", "d", "e"]
MOMENTS: dict[str, Callable[[str, str], bool]] = {
    "layer": lambda call, tag: call in ("put_blob", "upload"),
    "entry": lambda call, tag: call == "put_manifest" and "._e" in tag,
    "pointer": lambda call, tag: call == "put_manifest" and "._p" in tag,
    "head": lambda call, tag: call == "put_manifest" and "._" not in tag,
}
"""Calls of the store that a push may be killed at."""


@pytest.fixture
def company(there: Workspaces) -> Company:
    """Directories that hold the same few files, each with a change of its own that is not pushed."""
    top = there.at("a")
    for path in (b"d/one", b"d/two", b"e/three", b"f", b"g"):
        write(top, path, path)
    there.push("a")
    for name in CREW:
        there.pull(name)
        write(there.at(name), b"from-" + name.encode(), noise(2000, ord(name)))
    return Company(there)


def files(*names: str) -> set[str]:
    return {f"from-{name}" for name in names}


def test_g1_what_was_pushed_is_in_every_later_pull(company: Company) -> None:
    put_back = company.head_of_now()
    company.push_killed("e", MOMENTS["pointer"])
    company.push_at_once(CREW[:-1])
    put_back()
    assert files("b", "c", "d") <= company.tree("all").keys()
    for name in CREW[:-1]:
        with watched(company.there, unlisted=True):
            assert files(name) <= company.tree("named", after=(name,)).keys()


def test_g2_head_reaches_the_merge_of_all_entries(company: Company) -> None:
    put_back = company.head_of_now()
    company.push_at_once(CREW[:-1])
    # The last writer: another is done between its look at head and its own PUT.
    met: list[str] = []

    def meet(call: str, tag: str) -> None:
        if (call, tag) == ("put_manifest", company.tag) and not met:
            met.append(tag)
            write(company.there.at("a"), b"from-a", b"a")
            company.another().push("a")

    agent = company.another()
    with watched(agent, meet):
        assert agent.push("e").head_moved
    assert met
    for mend in (lambda: None, put_back):
        mend()
        if mend is put_back:
            company.there.pull("repairing", repair=True)
        assert company.kept_by([company.tag]) == company.kept_by(company.entries())
        assert files("a", *CREW) <= applied(company.store, company.tag).keys()


def test_g3_merging_depends_on_nothing_but_the_set_of_entries(company: Company) -> None:
    for name in CREW:
        write(company.there.at(name), b"f", name.encode())
        os.unlink(company.there.at(name) + b"/d/one")
    write(company.there.at("c"), b"d/one", b"kept")
    for name in CREW:
        company.there.push(name)
    tags = company.entries()
    heads = set()
    for number, order in enumerate((tags, tags[::-1], tags[2:] + tags[:2])):
        target = _elsewhere(company, number)
        name = f"merged-{number}"
        for count, tag in enumerate(order):
            company.copy_entry(tag, target)
            if number and count:
                company.there.pull(name, target=target, repair=True)
        company.there.pull(name, target=target, repair=True)
        head = company.there.open_store(parse_reference(target)).get_manifest(company.tag)
        assert head is not None
        heads.add(head.digest)
        assert unlike(snapshot(company.there.at("merged-0")), snapshot(company.there.at(name))) == {}
    assert len(heads) == 1


def _elsewhere(company: Company, number: int) -> str:
    """Return a target in another repository, under the same tag."""
    name, _, tag = company.there.target.rpartition(":")
    return f"{name}-{number}:{tag}"


def test_g4_head_applied_by_plain_rules_is_the_merged_tree(company: Company) -> None:
    tops = [company.there.at(name) for name in CREW]
    os.unlink(tops[0] + b"/d/one")
    os.unlink(tops[0] + b"/d/two")
    os.rmdir(tops[0] + b"/d")
    write(tops[1], b"d/new", b"what b has not seen")
    os.unlink(tops[2] + b"/f")
    write(tops[2], b"f/in", b"a directory now")
    os.link(tops[3] + b"/g", tops[3] + b"/g too")
    os.utime(tops[3] + b"/e/three", ns=(5, 5))
    for name in CREW[::-1]:  # who deletes is the last, so that its layer lies over what it has not seen
        company.there.push(name)
    tree = company.tree("all")
    assert {"d/new", "f/in", "g too"} <= tree.keys()
    assert "d/one" not in tree
    assert applied(company.store, company.tag) == tree
    stack = items(company.store, company.image(company.tag))
    nodes, _, dead = overlay.shown([overlay.unpacked(layer) for layer in stack])
    assert not dead
    shown = {os.fsdecode(path): (node.mode, node.sha256) for path, node in nodes.items()}
    contents = {path: sha256(content).digest() if kind == "file" else b"" for path, (kind, _, content) in tree.items()}
    assert shown == {path: (tree[path][1], content) for path, content in contents.items()}


def test_g5_with_a_change_come_its_parents(company: Company) -> None:
    company.there.push("b")
    company.there.pull("c", force=True)
    write(company.there.at("c"), b"from-c", b"on top of b")
    report = company.there.push("c")
    for tag in [company.tag, *company.entries()]:
        if company.digest(tag) != report.digest:
            company.delete(tag)
    assert len(company.entries()) == 1
    for name, after in (("listed", ()), ("named", ("c",))):
        assert files("b", "c") | {"d/one"} <= company.tree(name, after=after).keys()
        union = company.seen().union
        assert {parent for record in union.records.values() for parent in record.parents} <= union.ids


def test_g6_an_attempt_replaces_the_earlier_and_no_push_counts_twice(company: Company) -> None:
    there = company.there
    there.push("b", lane="run/task", attempt=0)
    write(there.at("c"), b"f", b"again")
    there.push("c", lane="run/task", attempt=1)
    tree = company.tree("all")
    assert files("b", "c") & tree.keys() == files("c")
    assert [(e.attempt, e.superseded) for e in company.log() if e.lane == "run/task"] == [(1, False), (0, True)]
    # Killed before the entry is put, or after it, and pushed again.
    for name, moment in (("d", "entry"), ("e", "pointer")):
        company.push_killed(name, MOMENTS[moment])
        intent = json.loads((there.place / f".state-{name}" / "intent").read_text())
        assert there.push(name).id == sha256(intent["record"].encode()).hexdigest()
    assert len(company.entries()) == len(company.log()) == 5
    # Nothing to push.
    before = company.pointers()
    assert there.push("d").id is None
    assert company.pointers() == before


def test_g7_a_conflict_is_told_and_recorded(company: Company) -> None:
    there = company.there
    for name in "bc":
        write(there.at(name), b"f", name.encode())
    there.push("b")
    entries = company.entries()
    with pytest.raises(ConflictError, match=r"disagree about f \(content\); nothing was published") as refused:
        there.push("c", on_conflict="fail")
    assert (refused.value.exit_code, company.entries()) == (10, entries)
    report = there.push("c")
    (conflict,) = report.conflicts
    assert (conflict.path, conflict.kind, set(conflict.lanes), conflict.won) == ("f", "content", {"b", "c"}, report.id)
    assert there.pull("all").conflicts == [conflict]
    assert on_disk(there.at("all"))["f"][2] == b"c"
    assert company.logged().conflicts == [conflict]
    assert [each.path for each in company.image(company.tag).conflicts.first] == [b"f"]


def test_g8_whoever_is_killed_leaves_nothing_wrong(company: Company) -> None:
    there = company.there
    before = company.tree("seen").keys()
    for moment, name in zip(MOMENTS, CREW, strict=True):
        company.push_killed(name, MOMENTS[moment])
        # All or nothing of it.
        assert company.tree("seen").keys() - before == (files(name) if moment in ("pointer", "head") else set())
        assert there.push(name).id
        assert there.changed(name) == []
        before = company.tree("seen").keys()
        assert files(name) <= before
        assert applied(company.store, company.tag) == on_disk(there.at("seen"))
    # A pull that is killed: what it leaves is no change of the user's, and the next one makes it whole.
    for number in range(0, 40, 3 if FULL else 6):
        died = killed_at(number, lambda: company.another().pull("a"))
        there.pull("a")
        assert there.changed("a") == []
        assert unlike(snapshot(there.at("seen")), snapshot(there.at("a"))) == {}
        if not died:
            break
        there.pull("a", at=company.log()[-1].id)


def test_g9_nothing_is_in_head_alone_and_only_what_a_checkpoint_holds_is_deleted(company: Company) -> None:
    there = company.there
    company.push_at_once(CREW)
    whole = company.tree("before")
    deleted: list[str] = []
    put_back = company.head_of_now()

    def hear(call: str, subject: str) -> None:
        if call == "delete_manifest":
            deleted.append(subject)
            others = [tag for tag in company.checkpoints() if company.digest(tag) != subject]
            assert company.image(subject).records.keys() <= company.kept_by(others)

    agent = company.another()
    with watched(agent, hear):
        prune(agent.site("-"), PruneOptions(0))
        squash_target(agent.site("-"), SquashOptions())
        write(there.at("b"), b"more", b"more")
        agent.push("b")
        put_back()  # which knows nothing of `more`
        prune(agent.site("-"), PruneOptions(0))
    assert len(deleted) >= len(CREW) + 2
    assert company.kept_by([company.tag]) <= company.kept_by([*company.entries(), *company.checkpoints()])
    assert company.tree("after").keys() == whole.keys() | {"more"}
    company.delete(company.tag)
    assert company.tree("without head") == on_disk(there.at("after"))


def test_g10_who_has_everything_on_the_disk_gets_back_exactly_that(company: Company) -> None:
    there = company.there
    for name in CREW:
        write(there.at(name), b"f", name.encode())
        os.link(there.at(name) + b"/g", there.at(name) + b"/g-" + name.encode())
        os.utime(there.at(name) + b"/e/three", ns=(ord(name), ord(name)))
        os.unlink(there.at(name) + b"/d/one")
    company.push_at_once(CREW)
    there.pull("whole")
    write(there.at("whole"), b"e/three", b"and a change of its own")
    os.utime(there.at("whole") + b"/d/two", ns=(7, 7))
    os.unlink(there.at("whole") + b"/from-c")
    there.push("whole")
    disk = snapshot(there.at("whole"), directory_mtimes=False)
    assert there.push("whole", lane="run/nothing", attempt=0).id
    for name in ("whole", "fresh", "b"):
        there.pull(name)
        assert unlike(disk, snapshot(there.at(name), directory_mtimes=False)) == {}
