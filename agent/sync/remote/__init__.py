"""Reading a target: head, pointers, entries, layers, bases; and what to do if something vanishes meanwhile."""
