"""One task with the two steps: names that are free, users, resources, result sizes, and what cannot be wrapped."""
