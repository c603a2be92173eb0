"""Tar: headers of ours, written; headers of anyone, read."""
