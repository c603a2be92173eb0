"""The Kubernetes API: the login, the client, and what the API server permits.

Belongs here: requests. Never belongs here: what an object means.
"""
