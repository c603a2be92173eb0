"""Instep: an emptyDir workspace that behaves as if it were shared, with nothing but an OCI registry."""
