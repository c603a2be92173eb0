"""Reading a directory: find paths, examine each, notice changes.

Belongs here: reading. Never belongs here: writing into the directory.
"""
