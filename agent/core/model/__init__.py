"""The values of the design: entries of a layer, changes, squashes, records, writers, and their ancestry.

The merge, images and the directory are built on them.
"""
