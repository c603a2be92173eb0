"""Layers, read: tables of contents, merges of them, and the contents of files."""
