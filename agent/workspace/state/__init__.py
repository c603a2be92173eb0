"""What is remembered of a directory between two commands (design, "State and scan").

Belongs here: the state's file, its rows and its place. Never belongs here: reading the directory itself.
"""
