"""Files that several processes share: advisory locks, and writes that a crash leaves whole.

Belongs here: single system calls, their loops and their order. Never belongs here: paths of the workspace or of a
store, and errors for users.
"""
