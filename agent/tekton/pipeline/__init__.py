"""A whole pipeline: its graph, the lanes that a pull must have seen, and every task rewritten."""
