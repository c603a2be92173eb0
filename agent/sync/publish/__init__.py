"""Writing to a target: layer, entry, pointer, head, checkpoint."""
