"""What a union file system shows for a stack of layers, as overlayfs does: lookups and listings, no flattening.

A directory is merged from the layers that have it, down to the first that has something else or a whiteout there.
A listing hides whiteouts only where it merges at least two; else it shows them as names that lead nowhere.
"""

from agent.core.model.entry import Kind
from agent.core.model.tar_item import Linked, Placed, Whiteout

WHITEOUT = "whiteout"


def unpacked(items):
    """Return one layer as nested dictionaries: name → [inode, below], or `WHITEOUT`."""
    root, inodes = {}, {}
    for item in sorted(items, key=lambda item: isinstance(item, Whiteout)):
        *above, last = item.path.split(b"/")
        at = root
        for name in above:
            assert at.get(name) is not None, f"{item.path} lacks a directory above it"
            assert at[name] != WHITEOUT
            at = at[name][1]
        assert last not in at, f"{item.path} twice"
        match item:
            case Whiteout():
                at[last] = WHITEOUT
            case Placed():
                inodes[item.path] = [item.node, {}]
                at[last] = inodes[item.path]
            case Linked():
                at[last] = inodes[item.to]
    return root


def shown(layers):
    """Return path → node, the link groups, and the dead names, of unpacked layers, lowest first."""
    nodes, dead, names = {}, set(), {}
    _show(b"", list(reversed(layers)), nodes, dead, names)
    return nodes, {frozenset(group) for group in names.values() if len(group) > 1}, dead


def _show(prefix, stack, nodes, dead, names):
    for name in sorted({name for layer in stack for name in layer}):
        path = prefix + name
        found = [layer[name] for layer in stack if name in layer]
        if found[0] == WHITEOUT:
            if len(stack) == 1:
                dead.add(path)
            continue
        nodes[path] = found[0][0]
        names.setdefault(id(found[0]), set()).add(path)
        if found[0][0].kind is Kind.DIR:
            merged = []
            for entry in found:
                if entry == WHITEOUT or entry[0].kind is not Kind.DIR:
                    break
                merged.append(entry[1])
            _show(path + b"/", merged, nodes, dead, names)
