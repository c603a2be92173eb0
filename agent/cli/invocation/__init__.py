"""One run of a command: its arguments, what it opens, how it ends.

Belongs here: what several commands share. Never belongs here: what only one command does.
"""
