"""Bytes that pass: compression, frames, limits, reading ahead. Nothing here knows of tar."""
