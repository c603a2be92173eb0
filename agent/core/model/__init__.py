"""What a change is: entries of a layer, records, writers, and who descends from whom.

Plain values. The merge, images and the directory are built on them.
"""
