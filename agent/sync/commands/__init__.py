"""One module for each command: the order in which things happen.

A command opens the directory, reads the target, decides, writes, and remembers. It calls the packages beside this one.
"""
