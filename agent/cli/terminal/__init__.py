"""The output of commands: text, JSON, progress, failures, exit codes.

Belongs here: texts and streams. Never belongs here: an option, a call of a command.
"""
