"""Lookups: runs whose references are looked up in a bundle (TEP-0018)."""
