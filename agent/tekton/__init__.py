"""Rewriting Tekton objects: steps in tasks, sources of references, bundles.

Belongs here: pure functions on dicts as YAML or the API server has them. Never belongs here: I/O, a clock, a client of
Kubernetes. No argument is changed. A result shares its unchanged parts with the argument.

Begin with `pipeline.wrap_pipeline` and `wrap.task`, then `pipeline.lineage`. The custom task is in
`controlplane.launch_run` and `controlplane.customrun_reconcile`. For lookups begin with `lookup.lookup` and
`lookup.lookup_request`. `frontends.wrap_annotations` wraps runs by their annotations, and `requests.embedded` encodes a
Pipeline that is written into a run.
"""
