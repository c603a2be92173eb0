"""Layers, made and uploaded: of a change, a squash, a fix-up, or copied from another repository."""
