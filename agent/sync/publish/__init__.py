"""Tags, written, in this order: entry, pointer, head; and checkpoints, which hold a merge for prune."""
