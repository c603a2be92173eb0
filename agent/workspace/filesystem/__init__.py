"""System calls for one directory: descriptors, errors, clocks, mounts, durable files.

Belongs here: the guarantees of file systems. Never belongs here: scans, states and pulls.
"""
