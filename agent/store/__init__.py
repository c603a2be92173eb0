"""Where images are kept: one port (`port.Store`), adapters `registry` (HTTP) and `layout` (directory).

Belongs here: moving blobs, manifests and tags. Never belongs here: knowledge of what a manifest means.
"""
