"""Streams: tar, frames and the table of contents of a layer.

Belongs here: turning entries and contents into bytes and back, verified. Never belongs here: a decision
about what a change means, a file name on disk, a network address.
"""
