"""The state of a directory between two commands (design, "State and scan"), like Git's index.

Belongs here: the state's file, its rows, its location and its lock. Never belongs here: reading the directory itself.
"""
