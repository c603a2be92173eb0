"""Reading a directory: finding paths, reading each, watching for changes.

Belongs here: reading. Never belongs here: writing into the directory.
"""
