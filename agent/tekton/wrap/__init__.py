"""Wrapping one task: free names, users, resources, result sizes, and the tasks that cannot be wrapped."""
