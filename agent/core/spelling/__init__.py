"""How values are written and read: paths, digests, references, tags, times, durations, canonical JSON.

Each module parses and formats one kind of value, and refuses every other spelling.
"""
