"""The rules of design, "Changes" and "Merge" written down naively: dictionaries of everything, no order, no speed.

No squashes and no link groups: those have laws of their own.
"""

from collections import defaultdict
from itertools import combinations

from agent.core.model.change import claim_value
from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Touch, Write
from agent.core.spelling.path import ancestors


class Reference:
    """The merge of a set: `tree` is path → (node, version), `conflicts` (path, kind, ids)."""

    def __init__(self, changes):
        self.changes = {change.id: change for change in changes}
        self.superseded = self._find_superseded()
        self.effective = [change for id_, change in self.changes.items() if id_ not in self.superseded]
        self.versions, self.dead, self.listings = {}, set(), defaultdict(list)
        self.touches, self.claims = defaultdict(list), defaultdict(dict)
        for change in self.effective:
            for entry in change.entries:
                self._read(change, entry)
        self.tree = self._find_tree()
        self.conflicts = self._find_conflicts()

    def past(self, id_):
        parents = self.changes[id_].parents if id_ in self.changes else ()
        return set(parents).union(*(self.past(parent) for parent in parents))

    def _find_superseded(self):
        """Go up from what nothing can replace: what is replaced by one that stays is gone."""
        gone, stays = set(), set()
        while len(gone) + len(stays) < len(self.changes):
            for one in self.changes.values():
                rivals = [other for other in self.changes.values() if self._is_replaced(one, other)]
                if any(other.id in stays for other in rivals):
                    gone.add(one.id)
                elif all(other.id in gone for other in rivals):
                    stays.add(one.id)
        return gone

    def _is_replaced(self, one, other):
        if one.lane != other.lane or None in (one.attempt, other.attempt) or one.id in self.past(other.id):
            return False
        if one.attempt == other.attempt:
            return None not in (one.pod, other.pod) and one.pod < other.pod
        return one.attempt < other.attempt

    def _read(self, change, entry):
        version, path = change.version, entry.path
        if isinstance(entry, Write):
            register = (path, entry.node.kind is Kind.DIR)
            self.versions[register] = max(self.versions.get(register, (version, entry.node)), (version, entry.node))
            self.claims[path][change.id] = (claim_value(entry.node), entry.seen)
        if isinstance(entry, Write | Context) and entry.node.kind is Kind.DIR:
            self.listings[path].append((version, entry.node))
        if isinstance(entry, Delete):
            self.dead.add((path, entry.kind is Kind.DIR, entry.seen))
            self.claims[path].setdefault(change.id, (None, entry.seen))
        if isinstance(entry, Touch):
            self.touches[path, entry.version].append((version, entry.mtime))

    def rivals(self, path, is_directory, version):
        found = [self.versions[register][0] for register in [(path, not is_directory)] if register in self.versions]
        found += [self.versions[above, False][0] for above in ancestors(path) if (above, False) in self.versions]
        if not is_directory:
            found += [at[0] for (other, _), at in self.versions.items() if other.startswith(path + b"/")]
        return [rival for rival in found if rival > version]

    def _find_tree(self):
        tree = {}
        for (path, is_directory), (version, node) in self.versions.items():
            if (path, is_directory, version) in self.dead or self.rivals(path, is_directory, version):
                continue
            touches = self.touches[path, version]
            tree[path] = (node._replace(mtime=max(touches)[1]) if touches else node, version)
        for path in list(tree):
            for above in ancestors(path):
                tree.setdefault(above, (max(self.listings[above])[1] if self.listings[above] else None, None))
        return tree

    def _live(self, path):
        def settles(later, earlier):
            seen = self.claims[path][later][1]
            return seen != UNPULLED and (earlier in self.past(later) or (seen is not None and seen.id == earlier))

        claims = self.claims[path]
        return [one for one in claims if not any(settles(other, one) for other in claims)]

    def _find_conflicts(self):
        found = defaultdict(set)
        for path, claims in self.claims.items():
            live = self._live(path)
            pairs = [pair for pair in combinations(sorted(live), 2) if self._kind(*(claims[id_][0] for id_ in pair))]
            for pair in pairs:
                self._note(found, path, self._kind(*(claims[id_][0] for id_ in pair)), pair)
            for id_ in live:
                value, seen = claims[id_]
                if value is not None:
                    self._hidden(found, path, id_, value.kind is Kind.DIR, pairs)
                elif seen.id in self.superseded and path in self.tree and self.tree[path][1] is not None:
                    self._note(found, path, "delete", (id_, self.tree[path][1].id))
        return sorted((path, kind, tuple(sorted(ids))) for (path, kind), ids in found.items())

    def _hidden(self, found, path, id_, is_directory, pairs):
        version = self.changes[id_].version
        if self.versions[path, is_directory][0] != version:
            return
        unseen = [rival for rival in self.rivals(path, is_directory, version) if id_ not in self.past(rival.id)]
        if unseen and tuple(sorted((id_, max(unseen).id))) not in pairs:
            self._note(found, path, "hidden", (id_, max(unseen).id))

    def _note(self, found, path, kind, ids):
        bases = all(self.changes[id_].stamp == 0 for id_ in ids)
        found[(b"", "base") if bases else (path, kind)].update(ids)

    @staticmethod
    def _kind(one, other):
        if one == other or (None in (one, other) and Kind.DIR in {v.kind for v in (one, other) if v is not None}):
            return None
        if None in (one, other):
            return "delete"
        return "type" if Kind.DIR in (one.kind, other.kind) else "content"
