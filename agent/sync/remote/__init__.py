"""A target, read: head, pointers, entries and bases; and what to do if something vanishes meanwhile."""
