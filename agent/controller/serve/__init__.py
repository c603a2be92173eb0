"""What the controller serves over HTTP: health, metrics, admission.

Belongs here: servers. Never belongs here: a request to the API server.
"""
