"""Wrapping a whole pipeline: its graph, the lanes before each task, and the wrapping of every task."""
