"""The directory: scan it, materialise a tree in it, remember it, watch it.

Belongs here: system calls below one root descriptor. Never belongs here: images, layers, registries.
"""
