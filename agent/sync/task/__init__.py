"""The two steps around a Tekton task: their one argument, and what they do with it."""
