"""A registry as a store, over HTTP (OCI distribution-spec 1.1).

Belongs here: the requests of the registry API, and the meaning of their responses. Never belongs here: the meaning of a
manifest.
"""
