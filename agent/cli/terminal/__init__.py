"""What people and machines see: text, JSON, progress, failures, exit codes.

Belongs here: words and streams. Never belongs here: an option, a call of a command.
"""
