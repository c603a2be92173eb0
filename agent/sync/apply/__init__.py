"""A pull's plan, applied to the directory: what may be overwritten, then the writes."""
