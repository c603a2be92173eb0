"""What holds for each HTTP server: addresses, proxies, certificates, refusals, and when to try again.

Belongs here: nothing that knows of images. Never belongs here: a request of the registry's protocol.
"""
