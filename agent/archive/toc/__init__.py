"""The table of contents of a layer: its lines, its rules, and its place behind the frames."""
