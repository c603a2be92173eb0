"""The differences between a directory and its state."""
