"""Streams of bytes: compression, frames, limits, reading ahead. Nothing here depends on tar."""
