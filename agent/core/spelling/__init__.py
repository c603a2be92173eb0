"""How values are written and read: paths, digests, references, tags, times, durations, canonical JSON.

Each module owns one spelling, and refuses every other one. Nothing here knows of layers or images.
"""
