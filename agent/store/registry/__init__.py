"""A registry as a store, over HTTP (OCI distribution-spec 1.1).

Belongs here: the requests of the protocol, and what their answers mean. Never belongs here: what a manifest means.
"""
