"""Pure values and functions: what is true of paths, versions, changes, images and tags.

Belongs here: decisions on values. Never belongs here: I/O, a clock, randomness, a third-party package.
"""
