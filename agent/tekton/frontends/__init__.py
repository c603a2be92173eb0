"""The entry points for whole objects: the admission webhook, annotations, and `agent render`."""
