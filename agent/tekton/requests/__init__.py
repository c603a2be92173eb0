"""Requests to the resolver `wrap`, embedded pipelines, changes of references, and the format of bundles."""
