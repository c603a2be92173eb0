"""Requests to one registry: connections, redirects, logins, retries.

Belongs here: HTTP as such. Never belongs here: the addresses and status codes of the registry's API.
"""
