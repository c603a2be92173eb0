"""Writing a directory: contents, attributes, names.

Belongs here: one path at a time, never outside of the directory. Never belongs here: the decision what to write.
"""
