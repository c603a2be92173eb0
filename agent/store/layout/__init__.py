"""A directory as a store: the OCI image layout (image-spec, image-layout.md).

Belongs here: the files and the lock of a layout. Never belongs here: HTTP.
"""
