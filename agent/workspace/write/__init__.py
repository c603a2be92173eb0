"""Writing a directory: contents, attributes, names.

Belongs here: one path at a time, never outside of the directory. Never belongs here: a decision on what to write.
"""
