"""Layers as OCI tools apply them: stacked, flattened, packed, squashed, and read without a table of contents."""
