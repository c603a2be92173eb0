"""The Kubernetes API: the login, the client, and what the API server permits.

Belongs here: requests and responses. Never belongs here: the meaning of an object.
"""
