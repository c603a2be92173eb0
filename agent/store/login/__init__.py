"""Logins of a registry: where users keep them, and how a challenge is answered.

Belongs here: credentials and tokens. Never belongs here: what a request is for.
"""
