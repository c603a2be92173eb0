"""Logins at a registry: the user's credentials, and answers to challenges.

Belongs here: credentials and tokens. Never belongs here: requests for images.
"""
