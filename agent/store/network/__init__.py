"""HTTP servers in general: addresses, proxies, certificates, connections, error responses, retries.

Belongs here: rules for any HTTP server. Never belongs here: images, and requests of the registry API.
"""
