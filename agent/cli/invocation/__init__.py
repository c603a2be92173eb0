"""One run of a command: its arguments and options, its session, its report.

Belongs here: code that several commands share. Never belongs here: code of one command.
"""
