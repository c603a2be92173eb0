"""What a change's entries do to a tree, spelled out anew from the format (design, "Layers" and "Merge")."""

from dataclasses import dataclass, field

from agent.core.model.entry import Context, Delete, Kind, Touch, Write, toc_order
from agent.core.spelling.path import ancestors


@dataclass
class Tree:
    """Nodes and versions by path; `links` are the groups that some change recorded, as sets of (path, version)."""

    nodes: dict = field(default_factory=dict)
    links: list = field(default_factory=list)

    def partition(self, paths):
        """The sets of `paths` that are one file, those of one name too."""
        sets = [{path} for path in paths]
        for link in self.links:
            joined = {path for path, version in link if path in self.nodes and self.nodes[path][1] == version}
            touched = [each for each in sets if each & joined]
            if touched:
                sets = [each for each in sets if not each & joined] + [set.union(*touched)]
        return {frozenset(each) for each in sets}


def tree_from(rows):
    groups = {}
    for row in rows:
        if row.group:
            groups.setdefault(row.group, set()).add((row.path, row.version))
    return Tree({row.path: (row.node, row.version) for row in rows}, [frozenset(each) for each in groups.values()])


def apply(tree, entries, version):
    nodes = dict(tree.nodes)
    for entry in entries:
        if isinstance(entry, Delete):
            node, stands = nodes.pop(entry.path)
            assert (node.kind, stands) == (entry.kind, entry.seen), entry
    links = {}
    for entry in entries:
        if isinstance(entry, Write):
            if entry.node.kind is not Kind.DIR:
                for below in [path for path in nodes if path.startswith(entry.path + b"/")]:
                    del nodes[below]
            nodes[entry.path] = (entry.node, version)
        elif isinstance(entry, Touch):
            node, stands = nodes[entry.path]
            assert stands == entry.version, entry
            nodes[entry.path] = (node._replace(mtime=entry.mtime), stands)
        elif isinstance(entry, Context):
            node, stands = nodes[entry.path]
            nodes[entry.path] = (node._replace(mtime=entry.node.mtime), stands)
            assert (node.kind is Kind.DIR) == (entry.version is None), entry
            assert entry.version in (None, stands), entry
        if isinstance(entry, Write | Context) and entry.group:
            links.setdefault(entry.group, set()).add((entry.path, nodes[entry.path][1]))
    for path in sorted(nodes, reverse=True):
        if nodes[path][1] is None and not any(other.startswith(path + b"/") for other in nodes):
            del nodes[path]
    return Tree(nodes, [*tree.links, *map(frozenset, links.values())])


def check_self_contained(disk, entries):
    """A layer stands alone: it can be applied in any company, and its tar can be written in one pass."""
    assert entries == sorted(entries, key=toc_order)
    assert len({(entry.path, type(entry)) for entry in entries}) == len(entries)
    assert not {e.path for e in entries if isinstance(e, Write)} & {e.path for e in entries if isinstance(e, Context)}
    listed = {e.path for e in entries if isinstance(e, Write | Context) and e.node.kind is Kind.DIR}
    groups = {}
    for entry in entries:
        if isinstance(entry, Touch):
            continue
        for above in ancestors(entry.path):
            assert above in listed or not disk.is_dir(above), f"{above} is not listed above {entry.path}"
        if isinstance(entry, Write | Context) and entry.group:
            groups.setdefault(entry.group, []).append(entry)
        elif isinstance(entry, Write) and entry.node.kind is not Kind.DIR:
            assert disk.linked(entry.path) == [entry.path], f"the other names of {entry.path} are missing"
    for group in groups.values():
        assert [entry.path for entry in group] == disk.linked(group[0].path)
        assert any(isinstance(entry, Write) for entry in group)
