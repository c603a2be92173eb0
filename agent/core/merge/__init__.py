"""The merge: several changes become one tree, and what disagrees in it becomes conflicts.

One pass over sorted tables of contents; commutative, associative, idempotent.
"""
