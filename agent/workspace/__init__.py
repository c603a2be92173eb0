"""A workspace's directory on disk: its scan, its state, and writes into it.

Belongs here: system calls below one root descriptor. Never belongs here: images, layers, registries.
"""
