"""The HTTP servers of the controller: health, metrics, admission.

Belongs here: servers. Never belongs here: a request to the API server.
"""
